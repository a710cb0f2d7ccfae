"""Unfinished jobs as the dispatcher holds them: what waits and what runs."""

import asyncio
import bisect
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence

from kubeqpu.proto.v1 import gateway_pb2
from kubeqpu.qpu_gateway import batches, merging
from kubeqpu.qpu_gateway.jobs import Job, JobState, entry_rows
from kubeqpu.qpu_gateway.providers.base import Span

# How much the newest batch counts in the running mean of seconds per row.
_NEWEST_WEIGHT = 0.5


class Work:
    """One job's rows: those that wait, and the tasks that run the others.

    Args:
        spec: The job as stored.
        stored: Rows whose results are stored.
    """

    def __init__(self, spec: gateway_pb2.JobSpec, stored: Sequence[Span]) -> None:
        self.spec = spec
        self.copies: Mapping[merging.Row, Sequence[merging.Row]] = {}
        skip = list(stored)
        if spec.merge_identical:
            self.copies = merging.find_copies(spec)
            repeated = {row for rows in self.copies.values() for row in rows}
            known = ((s.entry, s.first_row + i) for s in stored for i in range(s.rows))
            # Copies are stored with their original, so neither ever runs by itself.
            skip = merging.join_rows(repeated.union(known))
        self._pending = deque(batches.missing_spans(entry_rows(spec), skip))
        self.pending_rows = batches.count_rows(self._pending)
        self.seconds_per_row: float | None = None

    def take(self, rows: int) -> tuple[Span, ...]:
        """Takes rows that wait, in order."""
        taken = batches.take_rows(self._pending, rows)
        self.pending_rows -= batches.count_rows(taken)
        return taken

    def give_back(self, spans: Sequence[Span]) -> None:
        """Puts rows back to the front of those that wait."""
        self._pending.extendleft(reversed(spans))
        self.pending_rows += batches.count_rows(spans)

    def observe(self, rows: int, seconds: float) -> None:
        """Learns how long a batch of this job took."""
        if rows <= 0:
            return
        newest, known = seconds / rows, self.seconds_per_row
        self.seconds_per_row = (
            newest if known is None else known + _NEWEST_WEIGHT * (newest - known)
        )


class QueuedJob:
    """A job that has not reached a final state.

    Args:
        job: The job as it was when it came into the queue.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        self.work: Work | None = None
        self.spec: bytes | None = None
        self.tasks: set[asyncio.Task[None]] = set()
        self.circuits_left = job.circuits - job.circuits_finished

    @property
    def order(self) -> tuple[int, int]:
        """Sorts jobs: higher priority first, then first come."""
        return -self.job.priority, self.job.sequence

    @property
    def waits(self) -> bool:
        """Whether rows wait to be run, as far as is known."""
        return self.work is None or self.work.pending_rows > 0

    @property
    def begun(self) -> bool:
        """Whether some of it ran or runs, so that a cordoned QPU finishes it."""
        stored = self.job.state is JobState.RUNNING or self.job.circuits_finished > 0
        return stored or bool(self.tasks)


class JobQueue:
    """Unfinished jobs of one QPU in the order in which they are served."""

    def __init__(self) -> None:
        self._by_id: dict[str, QueuedJob] = {}
        self._order: list[tuple[tuple[int, int], str]] = []

    def __contains__(self, job_id: str) -> bool:
        return job_id in self._by_id

    def __iter__(self) -> Iterator[QueuedJob]:
        return iter(list(self._by_id.values()))

    def add(self, job: Job) -> QueuedJob:
        """Adds a job; one that is there already stays as it is."""
        queued = self._by_id.get(job.id)
        if queued is None:
            queued = self._by_id[job.id] = QueuedJob(job)
            bisect.insort(self._order, (queued.order, job.id))
        return queued

    def remove(self, job_id: str) -> QueuedJob | None:
        """Removes a job and returns it, or None if it is not there."""
        queued = self._by_id.pop(job_id, None)
        if queued is not None:
            index = bisect.bisect_left(self._order, (queued.order, job_id))
            del self._order[index]
        return queued

    def first_waiting(self, begun_only: bool = False) -> QueuedJob | None:
        """Finds the job whose rows run next, or None.

        Args:
            begun_only: Leaves out jobs of which nothing ran yet.
        """
        candidates: Iterable[QueuedJob] = (self._by_id[job_id] for _, job_id in self._order)
        waiting = (queued for queued in candidates if queued.waits)
        return next((queued for queued in waiting if queued.begun or not begun_only), None)

    def count_circuits(self) -> int:
        """Counts circuits that wait or run."""
        # A copy: the metrics endpoint counts from a thread of its own.
        return sum(queued.circuits_left for queued in list(self._by_id.values()))
