"""Wakes readers of results when a job they read has more."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator

from kubeqpu.proto.v1 import gateway_pb2
from kubeqpu.qpu_gateway.access.control import StandingRight
from kubeqpu.qpu_gateway.errors import ProviderUnavailableError
from kubeqpu.qpu_gateway.jobs import Job
from kubeqpu.qpu_gateway.store import Store

# Read ahead of a slow reader at most this much.
_READ_BYTES = 4 * 2**20


class Feed:
    """Streams the results of jobs, each stored chunk once per reader.

    Readers take everything from the store and are only woken from here, so a slow one costs no
    memory and a restart of the gateway loses nothing.

    Args:
        store: Where results are.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: dict[str, set[asyncio.Event]] = {}
        self._closed = False

    def notify(self, job_id: str) -> None:
        """Tells readers that the job has new results or another state."""
        for event in self._waiting.get(job_id, ()):
            event.set()

    def close(self) -> None:
        """Ends all streams; their readers are told to come back."""
        self._closed = True
        for job_id in list(self._waiting):
            self.notify(job_id)

    async def stream(
        self, job_id: str, right: StandingRight | None = None
    ) -> AsyncGenerator[gateway_pb2.ResultChunk | Job, None]:
        """Gives a job's chunks as they are stored, then the final job.

        Args:
            job_id: The job, which the reader may read now.
            right: The reader's right to it, or None for one that cannot end.

        Raises:
            NotFoundError: If the job expires meanwhile.
            ProviderUnavailableError: If the gateway stops first.
            GatewayError: If the right ends.
        """
        changed = asyncio.Event()
        self._waiting.setdefault(job_id, set()).add(changed)
        try:
            position = 0
            while True:
                changed.clear()
                job, chunks = await self._store.read_chunks(job_id, position, _READ_BYTES)
                for sequence, data in chunks:
                    if right is not None:
                        await right.check()
                    yield gateway_pb2.ResultChunk.FromString(data)
                    position = sequence
                if job.state.final and not chunks:
                    yield job
                    return
                if not chunks:
                    await self._wait(changed, right)
        finally:
            readers = self._waiting[job_id]
            readers.discard(changed)
            if not readers:
                del self._waiting[job_id]

    async def _wait(self, changed: asyncio.Event, right: StandingRight | None) -> None:
        while not (self._closed or changed.is_set()):
            if right is None:
                await changed.wait()
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(right.idle_seconds):
                    await changed.wait()
            await right.check()
        if self._closed:
            raise ProviderUnavailableError(
                "The gateway is stopping; stream the results again, stored ones are kept."
            )
