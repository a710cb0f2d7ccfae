"""A lane: takes the jobs of one QPU in order and keeps its slots busy."""

import asyncio
import functools
import random
from collections.abc import Callable

import structlog

from kubeqpu.common.backoff import Backoff, choose_retry_seconds
from kubeqpu.proto.v1 import gateway_pb2
from kubeqpu.qpu_gateway import batches
from kubeqpu.qpu_gateway.batch_run import BatchRun
from kubeqpu.qpu_gateway.errors import (
    CircuitError,
    GatewayError,
    NotFoundError,
    ProviderUnavailableError,
    ResourceExhaustedError,
    StoreUnavailableError,
    WorkerError,
)
from kubeqpu.qpu_gateway.feed import Feed
from kubeqpu.qpu_gateway.jobs import Job, JobState
from kubeqpu.qpu_gateway.providers.base import Batch, Span
from kubeqpu.qpu_gateway.qpus import ServedQPU
from kubeqpu.qpu_gateway.store import Store, StoredChunk
from kubeqpu.qpu_gateway.telemetry import Telemetry
from kubeqpu.qpu_gateway.work import JobQueue, QueuedJob, Work

_LOG = structlog.get_logger(__name__)

# A spec this small is kept while its job waits; others are read again when their turn comes.
_SMALL_SPEC_BYTES = 16 * 2**10
# A batch that lasts longer is reported as running before it has results.
_REPORT_RUNNING_SECONDS = 0.05
# After these a batch is tried again.
_PASSING = (ProviderUnavailableError, ResourceExhaustedError, StoreUnavailableError)


class Lane:
    """Runs the jobs of one QPU.

    Args:
        qpu: The QPU.
        store: Where jobs and results are.
        feed: Told about new results.
        telemetry: Told what happens.
        batch_seconds: How long a batch should run.
    """

    def __init__(
        self, qpu: ServedQPU, store: Store, feed: Feed, telemetry: Telemetry, batch_seconds: float
    ) -> None:
        self._qpu = qpu
        self._store = store
        self._feed = feed
        self._telemetry = telemetry
        self._batch_seconds = batch_seconds
        self._queue = JobQueue()
        self._wake = asyncio.Event()
        self._at_provider = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._backoff = Backoff()
        self._random = random.Random()  # noqa: S311 - jitter, no secret
        self._seconds_per_circuit = 0.0
        self._stopping = False
        qpu.count_pending = self._queue.count_circuits
        qpu.count_running = lambda: self._at_provider
        qpu.seconds_per_circuit = lambda: self._seconds_per_circuit
        qpu.on_schedulable = self._wake.set
        telemetry.watch_pending(qpu.name, self._queue.count_circuits)

    def submit(self, job: Job, spec: bytes | None) -> None:
        """Takes a stored job that is not final, with its serialized spec if it has no results.

        One that is known already changes nothing.
        """
        queued = self._queue.add(job)
        if spec is not None and len(spec) <= _SMALL_SPEC_BYTES:
            queued.spec = spec
        self._wake.set()

    async def cancel(self, job_id: str) -> None:
        """Ends what runs of a job that the store says is final."""
        queued = self._queue.remove(job_id)
        if queued is not None:
            await _end(queued.tasks)
        self._wake.set()

    async def run(self) -> None:
        """Keeps the slots busy until cancelled; no error ends it."""
        await self._qpu.wait_started()
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                await self._fill_slots()
            except Exception:
                self._telemetry.count_loop_failure(self._qpu.name)
                _LOG.exception("Dispatch failed", qpu=self._qpu.name)
                self._back_off()

    async def stop(self, grace_seconds: float) -> None:
        """Starts nothing more; running batches may finish within the grace."""
        self._stopping = True
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=grace_seconds)
        await _end(self._tasks)

    async def _fill_slots(self) -> None:
        slots = self._qpu.settings.slots
        while not self._stopping and self._at_provider < slots:
            if self._backoff.seconds_left > 0:
                return
            queued = self._queue.first_waiting(begun_only=self._qpu.unschedulable)
            if queued is None:
                return
            if queued.work is None:
                await self._open(queued)
                # The job may have been cancelled, or one of higher priority have come.
                continue
            await self._start_batch(queued, queued.work)

    async def _open(self, queued: QueuedJob) -> None:
        try:
            if queued.spec is not None:
                queued.work = _open_work(queued.spec, [])
                queued.spec = None
            else:
                data, stored = await self._store.read_work(queued.job.id)
                queued.work = await asyncio.to_thread(_open_work, data, stored)
        except NotFoundError:
            self._queue.remove(queued.job.id)
            return
        except Exception:
            _LOG.exception("Job could not be opened", job=queued.job.reference)
            await self._fail(queued, "The gateway could not read this job from its database.")

    async def _start_batch(self, queued: QueuedJob, work: Work) -> None:
        described = await self._qpu.describe_recently()
        rows = batches.choose_rows(
            work.pending_rows,
            self._qpu.settings.slots,
            described.max_circuits,
            work.seconds_per_row,
            self._batch_seconds,
        )
        spans = work.take(rows)
        if not spans or queued.job.id not in self._queue:
            return
        release = self._take_slot()
        task = asyncio.create_task(self._run_batch(queued, work, spans, release))
        # A task that is cancelled before its first step runs none of its own clean-up.
        task.add_done_callback(lambda _: release())
        for tasks in (self._tasks, queued.tasks):
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    def _take_slot(self) -> Callable[[], None]:
        """Takes a slot; what is returned frees it, however often it is called."""
        self._at_provider += 1
        held = True

        def release() -> None:
            nonlocal held
            if held:
                held = False
                self._at_provider -= 1
                self._wake.set()

        return release

    async def _run_batch(
        self,
        queued: QueuedJob,
        work: Work,
        spans: tuple[Span, ...],
        release: Callable[[], None],
    ) -> None:
        batch = Batch(queued.job.id, queued.job.tenant, work.spec, spans)
        run = BatchRun(batch, work.copies, functools.partial(self._save, queued))
        try:
            await self._iterate(queued, work, run, release)
            await run.finish()
            self._backoff.succeed()
        except asyncio.CancelledError:
            await run.settle()
            raise
        except _PASSING as error:
            await self._postpone(queued, work, run, error)
        except GatewayError as error:
            await self._refuse(queued, error)
        except Exception:
            self._telemetry.count_failure(self._qpu.name, "internal")
            _LOG.exception("Batch failed unexpectedly", job=queued.job.reference)
            await self._fail(
                queued, "The gateway met an error of its own while running this job; see its logs."
            )

    async def _iterate(
        self, queued: QueuedJob, work: Work, run: BatchRun, release: Callable[[], None]
    ) -> None:
        report = asyncio.create_task(self._report_running(queued))
        self._telemetry.start_batch(self._qpu.name)
        try:
            await run.iterate(self._qpu.provider.run)
            work.observe(run.rows, run.seconds)
            self._learn(run.rows, run.seconds)
        except _PASSING:
            # Before the slot is free, or the next batch would start at once and fail as well.
            self._back_off()
            raise
        finally:
            # The slot is free as soon as the provider is: storing the rest needs none.
            release()
            self._telemetry.end_batch(self._qpu.name, run.seconds)
            await _end({report})

    async def _report_running(self, queued: QueuedJob) -> None:
        """Tells the store that a job runs, unless its first results are faster to do so."""
        await asyncio.sleep(_REPORT_RUNNING_SECONDS)
        if queued.job.state is JobState.QUEUED:
            queued.job = await self._store.change_state(queued.job.id, JobState.RUNNING)
            self._feed.notify(queued.job.id)

    async def _save(self, queued: QueuedJob, chunks: list[StoredChunk], seconds: float) -> None:
        job = queued.job = await self._store.insert_chunks(queued.job.id, chunks, seconds)
        if job.state in (JobState.FAILED, JobState.CANCELLED):
            return
        queued.circuits_left = job.circuits - job.circuits_finished
        self._telemetry.count_circuits(self._qpu.name, sum(chunk.span.rows for chunk in chunks))
        if job.state.final:
            self._queue.remove(job.id)
            self._telemetry.count_finished(self._qpu.name, job.state)
            _LOG.info("Job succeeded", job=job.reference, qpu=job.qpu, circuits=job.circuits)
        self._feed.notify(job.id)

    def _learn(self, rows: int, seconds: float) -> None:
        newest, known = seconds / max(rows, 1), self._seconds_per_circuit
        self._seconds_per_circuit = newest if known == 0 else 0.7 * known + 0.3 * newest

    async def _postpone(
        self, queued: QueuedJob, work: Work, run: BatchRun, error: GatewayError
    ) -> None:
        self._back_off()
        away = isinstance(error, ProviderUnavailableError)
        self._telemetry.count_failure(self._qpu.name, "unavailable" if away else "store")
        work.give_back(await run.settle())
        self._wake.set()
        _LOG.warning(
            "Batch postponed",
            job=queued.job.reference,
            qpu=self._qpu.name,
            reason=str(error),
            failures=self._backoff.failures,
        )

    def _back_off(self) -> None:
        asyncio.get_running_loop().call_later(self._backoff.fail() + 0.001, self._wake.set)

    async def _refuse(self, queued: QueuedJob, error: GatewayError) -> None:
        kinds = {CircuitError: "circuit", WorkerError: "worker"}
        self._telemetry.count_failure(self._qpu.name, kinds.get(type(error), "provider"))
        await self._fail(queued, str(error))

    async def _fail(self, queued: QueuedJob, message: str) -> None:
        """Fails a job for good; a full disk delays that but does not prevent it."""
        if self._queue.remove(queued.job.id) is None:
            return
        own = asyncio.current_task()
        await _end({task for task in queued.tasks if task is not own})
        attempt = 0
        while True:
            try:
                job = await self._store.change_state(queued.job.id, JobState.FAILED, message)
            except NotFoundError:
                return
            except GatewayError:
                attempt += 1
                await asyncio.sleep(choose_retry_seconds(attempt, self._random))
            else:
                break
        if job.state is JobState.FAILED:
            self._telemetry.count_finished(self._qpu.name, job.state)
            _LOG.warning("Job failed", job=job.reference, qpu=job.qpu)
        self._feed.notify(job.id)


def _open_work(data: bytes, stored: list[Span]) -> Work:
    return Work(gateway_pb2.JobSpec.FromString(data), stored)


async def _end(tasks: set[asyncio.Task[None]]) -> None:
    ending = list(tasks)
    for task in ending:
        task.cancel()
    await asyncio.gather(*ending, return_exceptions=True)
