"""The gateway's database as the event loop sees it: every call runs on a thread."""

import asyncio
import fcntl
import functools
import os
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import sqlalchemy as sa

from kubeqpu.qpu_gateway.jobs import Job, JobState, NewJob
from kubeqpu.qpu_gateway.providers.base import Span
from kubeqpu.qpu_gateway.settings import ConfigurationError, Limits
from kubeqpu.qpu_gateway.store import blobs, jobs, results
from kubeqpu.qpu_gateway.store.engine import open_engine
from kubeqpu.qpu_gateway.store.results import StoredChunk
from kubeqpu.qpu_gateway.store.writer import Writer

T = TypeVar("T")

_DELETE_AT_ONCE = 50


class Store:
    """Jobs, results and blobs in one SQLite database; changes are on disk when a call returns.

    Args:
        directory: Where the database lives; made if it does not exist. One process at a time.
        limits: Sizes and counts it enforces.
        clock: Gives seconds since the epoch.
        on_commit: Called with the seconds a commit took and the writes in it.

    Raises:
        ConfigurationError: If the directory cannot be used, or another process uses it.
    """

    def __init__(
        self,
        directory: Path,
        limits: Limits,
        clock: Callable[[], float] = time.time,
        on_commit: Callable[[float, int], None] | None = None,
    ) -> None:
        self._limits = limits
        self._clock = clock
        self._lock = _lock(directory)
        self._engine = open_engine(directory / "gateway.db", limits.max_database_bytes)
        self._writer = Writer(self._engine, on_commit)
        self._readers = ThreadPoolExecutor(2, thread_name_prefix="store-reader")

    def close(self) -> None:
        """Finishes pending writes and closes the database."""
        self._writer.close()
        self._readers.shutdown()
        self._engine.dispose()
        os.close(self._lock)

    async def insert_job(self, new: NewJob) -> tuple[Job, bool]:
        """See `jobs.insert_job`."""
        limit = self._limits.max_unfinished_jobs
        return await self._writer.write(lambda c: jobs.insert_job(c, new, limit))

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
        """Reads a job's serialized spec and which of its rows are stored."""
        return await self._read(
            lambda c: (jobs.read_spec(c, job_id), results.read_spans(c, job_id))
        )

    async def list_jobs(
        self, tenant: str, states: Collection[JobState], limit: int, before: int | None
    ) -> list[Job]:
        """See `jobs.list_jobs`."""
        return await self._read(lambda c: jobs.list_jobs(c, tenant, states, limit, before))

    async def list_unfinished(self) -> list[Job]:
        """See `jobs.list_unfinished`."""
        return await self._read(jobs.list_unfinished)

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
        """See `results.insert_chunks`."""
        now = self._clock()
        return await self._writer.write(
            lambda c: results.insert_chunks(c, job_id, chunks, qpu_seconds, now)
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

    async def _read(self, function: Callable[[sa.Connection], T]) -> T:
        def run() -> T:
            with self._engine.connect() as connection:
                return function(connection)

        return await asyncio.get_running_loop().run_in_executor(self._readers, run)


def _lock(directory: Path) -> int:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock = os.open(directory / "gateway.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigurationError(
            f"Data directory {directory} cannot be used ({error.strerror}); name a directory the "
            "gateway may write to."
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        raise ConfigurationError(
            f"Data directory {directory} is in use by another gateway; give each gateway its own."
        ) from error
    return lock
