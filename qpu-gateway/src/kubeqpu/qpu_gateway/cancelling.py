"""Cancels jobs, whoever asks for it."""

import structlog

from kubeqpu.qpu_gateway.dispatcher import Dispatcher
from kubeqpu.qpu_gateway.feed import Feed
from kubeqpu.qpu_gateway.jobs import Job, JobState, Submitter
from kubeqpu.qpu_gateway.store import Store
from kubeqpu.qpu_gateway.telemetry import Telemetry

_LOG = structlog.get_logger(__name__)


class Canceller:
    """Cancels jobs and tells everybody concerned.

    Args:
        store: Where jobs are.
        dispatcher: Ends what runs.
        feed: Told that a job ended.
        telemetry: Told what happens.
    """

    def __init__(
        self, store: Store, dispatcher: Dispatcher, feed: Feed, telemetry: Telemetry
    ) -> None:
        self._store = store
        self._dispatcher = dispatcher
        self._feed = feed
        self._telemetry = telemetry

    async def cancel(self, before: Job, message: str) -> Job:
        """Cancels a job that is queued or running; a final one stays as it is.

        Args:
            before: The job as it was read.
            message: Why, for its owner.

        Returns:
            The job as it is now.

        Raises:
            GatewayError: If that cannot be stored.
        """
        job = await self._store.change_state(before.id, JobState.CANCELLED, message, before.tenant)
        if job.state is JobState.CANCELLED and not before.state.final:
            await self._end(job)
        return job

    async def cancel_orphan(self, job_id: str, submitter: Submitter, message: str) -> None:
        """Cancels a job whose pod is gone, if it still is that pod's and not final.

        Args:
            job_id: The job.
            submitter: The pod.
            message: Why, for the job's owner.

        Raises:
            GatewayError: If that cannot be stored.
        """
        job = await self._store.cancel_orphan(job_id, submitter, message)
        if job is not None:
            await self._end(job)

    async def _end(self, job: Job) -> None:
        await self._dispatcher.cancel(job)
        self._telemetry.count_finished(job.qpu, job.state)
        self._feed.notify(job.id)
        _LOG.info("Job cancelled", job=job.reference, reason=job.message)
