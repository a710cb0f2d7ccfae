"""The dispatcher: one lane per QPU, filled from the store when the gateway starts."""

import asyncio
from collections.abc import Mapping

import structlog

from kubeqpu.qpu_gateway.feed import Feed
from kubeqpu.qpu_gateway.jobs import Job
from kubeqpu.qpu_gateway.lanes import Lane
from kubeqpu.qpu_gateway.qpus import ServedQPU
from kubeqpu.qpu_gateway.store import Store
from kubeqpu.qpu_gateway.telemetry import Telemetry

_LOG = structlog.get_logger(__name__)


class Dispatcher:
    """Runs stored jobs: by priority, then first come.

    Args:
        qpus: The QPUs of this gateway.
        store: Where jobs and results are.
        feed: Told about new results.
        telemetry: Told what happens.
        batch_seconds: How long a batch should run.
    """

    def __init__(
        self,
        qpus: Mapping[str, ServedQPU],
        store: Store,
        feed: Feed,
        telemetry: Telemetry,
        batch_seconds: float,
    ) -> None:
        self._store = store
        # Stored, but its submitter could not be told: it runs all the same.
        store.on_unclaimed = self.submit
        self._lanes = {
            name: Lane(qpu, store, feed, telemetry, batch_seconds) for name, qpu in qpus.items()
        }
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Takes up the jobs that an earlier process left, then runs all lanes."""
        for job in await self._store.list_unfinished():
            self.submit(job)
        self._tasks = [asyncio.create_task(lane.run()) for lane in self._lanes.values()]

    def submit(self, job: Job, spec: bytes | None = None) -> None:
        """Takes a stored job that is not final; with its serialized spec where that is at hand."""
        lane = self._lanes.get(job.qpu)
        if lane is None:
            # It may come back with the next configuration, and its owner can cancel the job.
            _LOG.warning("QPU of a stored job is not served", job=job.reference, qpu=job.qpu)
            return
        lane.submit(job, spec)

    async def cancel(self, job: Job) -> None:
        """Ends what runs of a job that the store says is final."""
        lane = self._lanes.get(job.qpu)
        if lane is not None:
            await lane.cancel(job.id)

    async def stop(self, grace_seconds: float) -> None:
        """Starts nothing more; running batches may finish within the grace."""
        stops = (lane.stop(grace_seconds) for lane in self._lanes.values())
        await asyncio.gather(*stops)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
