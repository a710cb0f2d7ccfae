"""The gateway's database as the event loop sees it: every call runs on a thread."""

import asyncio
import functools
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import sqlalchemy as sa

from kubeqpu.qpu_gateway.errors import StoreUnavailableError
from kubeqpu.qpu_gateway.jobs import Job, JobState, NewJob, Submitter
from kubeqpu.qpu_gateway.providers.base import Span
from kubeqpu.qpu_gateway.settings import Limits
from kubeqpu.qpu_gateway.slots.slot import Slot
from kubeqpu.qpu_gateway.store import blobs, jobs, results, slots
from kubeqpu.qpu_gateway.store.database import Database
from kubeqpu.qpu_gateway.store.results import StoredChunk
from kubeqpu.qpu_gateway.store.writer import Writer

T = TypeVar("T")

_DELETE_AT_ONCE = 50
# How often what cannot do without the database asks for it while it is away.
_TRY_AGAIN_SECONDS = 0.25


class Store:
    """Jobs, results and blobs in one database; changes are on disk when a call returns.

    Every call raises StoreUnavailableError while the database is away, but for what the dispatcher
    needs to go on: that waits.

    Args:
        database: Where they are; closed with the store.
        limits: Sizes and counts it enforces.
        clock: Gives seconds since the epoch.
        on_commit: Called with the seconds a commit took and the writes in it.

    Attributes:
        on_unclaimed: Called in the event loop with a job that was stored although its submission
            failed or was given up.
    """

    def __init__(
        self,
        database: Database,
        limits: Limits,
        clock: Callable[[], float] = time.time,
        on_commit: Callable[[float, int], None] | None = None,
    ) -> None:
        self._limits = limits
        self._clock = clock
        self._database = database
        self._writer = Writer(database, on_commit)
        self._readers = ThreadPoolExecutor(2, thread_name_prefix="store-reader")
        self.on_unclaimed: Callable[[Job], None] = lambda job: None

    async def open(self) -> None:
        """Waits until the database can be written to; its schema is the newest then.

        Raises:
            ConfigurationError: If waiting cannot help.
        """
        await self._writer.write(lambda _: None, patient=True)

    def close(self) -> None:
        """Finishes pending writes and closes the database."""
        self._writer.close()
        self._readers.shutdown()
        self._database.close()

    async def insert_job(self, new: NewJob) -> tuple[Job, bool]:
        """See `jobs.insert_job`."""
        limit = self._limits.max_unfinished_jobs
        return await self._writer.write(
            lambda c: jobs.insert_job(c, new, limit), unclaimed=self._note_unclaimed
        )

    async def find_same(self, tenant: str, key: str, spec_digest: str) -> Job | None:
        """Reads the tenant's job with an idempotency key.

        Raises:
            ConflictError: If that job has another spec.
        """
        job = await self._read(lambda c: jobs.find_by_key(c, tenant, key))
        if job is not None:
            jobs.check_same_spec(job, spec_digest)
        return job

    async def read_job(self, job_id: str, tenant: str | None = None) -> Job:
        """See `jobs.read_job`."""
        return await self._read(lambda c: jobs.read_job(c, job_id, tenant))

    async def read_work(self, job_id: str) -> tuple[bytes, list[Span]]:
        """Reads a job's serialized spec and which of its rows are stored; waits if it has to."""
        return await self._read_patiently(
            lambda c: (jobs.read_spec(c, job_id), results.read_spans(c, job_id))
        )

    async def list_jobs(
        self, tenant: str, states: Collection[JobState], limit: int, before: int | None
    ) -> list[Job]:
        """See `jobs.list_jobs`."""
        return await self._read(lambda c: jobs.list_jobs(c, tenant, states, limit, before))

    async def list_unfinished(self) -> list[Job]:
        """See `jobs.list_unfinished`; waits if it has to."""
        return await self._read_patiently(jobs.list_unfinished)

    async def change_state(
        self, job_id: str, wanted: JobState, message: str = "", tenant: str | None = None
    ) -> Job:
        """Moves a job to another state; a job that may not go there stays as it is.

        Returns:
            The job as it is now.

        Raises:
            NotFoundError: If there is none, or it is another tenant's.
        """
        now = self._clock()
        return await self._writer.write(
            lambda c: jobs.change_state(
                c, jobs.read_job(c, job_id, tenant, lock=True), wanted, message, now
            )
        )

    async def insert_chunks(
        self, job_id: str, chunks: Sequence[StoredChunk], qpu_seconds: float
    ) -> Job:
        """See `results.insert_chunks`; waits if it has to, for a QPU's time is in the results."""
        now = self._clock()
        return await self._writer.write(
            lambda c: results.insert_chunks(c, job_id, chunks, qpu_seconds, now), patient=True
        )

    async def read_chunks(
        self, job_id: str, after: int, max_bytes: int
    ) -> tuple[Job, list[tuple[int, bytes]]]:
        """Reads a job, then its chunks, so that a final job without chunks has no more.

        Raises:
            NotFoundError: If there is no such job.
        """
        return await self._read(
            lambda c: (
                jobs.read_job(c, job_id),
                results.read_chunks(c, job_id, after, max_bytes),
            )
        )

    async def put_blob(self, tenant: str, digest: str, data: bytes, ttl_seconds: float) -> float:
        """See `blobs.put_blob`."""
        expires_at = self._clock() + ttl_seconds
        limit = self._limits.max_tenant_blob_bytes
        return await self._writer.write(
            lambda c: blobs.put_blob(c, tenant, digest, data, expires_at, limit)
        )

    async def get_blob(self, tenant: str, digest: str) -> bytes:
        """See `blobs.get_blob`."""
        now = self._clock()
        return await self._read(lambda c: blobs.get_blob(c, tenant, digest, now))

    async def read_slots(self) -> list[Slot]:
        """See `slots.read_slots`; waits if it has to."""
        return await self._read_patiently(slots.read_slots)

    async def save_slots(self, changed: Sequence[Slot]) -> None:
        """See `slots.save_slots`."""
        await self._writer.write(lambda c: slots.save_slots(c, changed))

    async def list_submitters(self) -> list[Submitter]:
        """See `slots.list_submitters`."""
        return await self._read(slots.list_submitters)

    async def list_followers(self, submitter: Submitter) -> list[str]:
        """See `slots.list_followers`."""
        return await self._read(lambda c: slots.list_followers(c, submitter))

    async def hand_over(self, job_id: str, pod: str, pod_uid: str, follows_pod: bool) -> Job:
        """See `slots.hand_over`."""
        return await self._writer.write(
            lambda c: slots.hand_over(c, job_id, pod, pod_uid, follows_pod)
        )

    async def cancel_orphan(self, job_id: str, submitter: Submitter, message: str) -> Job | None:
        """See `slots.cancel_orphan`."""
        now = self._clock()
        return await self._writer.write(
            lambda c: slots.cancel_orphan(c, job_id, submitter, message, now)
        )

    async def delete_expired(self) -> int:
        """Deletes jobs and blobs whose time is over, a few per transaction; returns how many."""
        now = self._clock()
        deleted = 0
        for function in (jobs.delete_expired, blobs.delete_expired):
            delete = functools.partial(function, now=now, limit=_DELETE_AT_ONCE)
            # Short transactions let submissions through in between.
            while found := await self._writer.write(delete):
                deleted += found
        return deleted

    def _note_unclaimed(self, inserted: tuple[Job, bool]) -> None:
        job, is_new = inserted
        if is_new:
            self.on_unclaimed(job)

    async def _read_patiently(self, function: Callable[[sa.Connection], T]) -> T:
        while True:
            try:
                return await self._read(function)
            except StoreUnavailableError:
                await asyncio.sleep(_TRY_AGAIN_SECONDS)

    async def _read(self, function: Callable[[sa.Connection], T]) -> T:
        def run() -> T:
            try:
                return self._read_once(function)
            except sa.exc.DBAPIError as error:
                if not self._database.is_lost(error):
                    raise self._database.explain(error) from error
            # Connections that were idle when the database restarted fail once.
            try:
                return self._read_once(function)
            except sa.exc.DBAPIError as error:
                raise self._database.explain(error) from error

        return await asyncio.get_running_loop().run_in_executor(self._readers, run)

    def _read_once(self, function: Callable[[sa.Connection], T]) -> T:
        with self._database.connect() as connection:
            return function(connection)
