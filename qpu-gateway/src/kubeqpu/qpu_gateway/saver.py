"""Stores a batch's results while the batch runs on, many chunks per commit."""

import asyncio
from collections.abc import Awaitable, Callable

from kubeqpu.qpu_gateway.store import StoredChunk

# Results that may wait for the disk before the provider is made to wait too.
_MOST_BYTES_WAITING = 32 * 2**20

Save = Callable[[list[StoredChunk]], Awaitable[None]]


class Saver:
    """Collects chunks and stores those that came in while the last ones were being stored.

    Args:
        save: Stores chunks durably.
    """

    def __init__(self, save: Save) -> None:
        self._save = save
        self._waiting: list[StoredChunk] = []
        self._bytes = 0
        self._task: asyncio.Task[None] | None = None

    async def add(self, chunks: list[StoredChunk]) -> None:
        """Takes chunks to be stored; waits only while too much is waiting.

        Raises:
            GatewayError: What storing earlier chunks raised.
        """
        self._waiting.extend(chunks)
        self._bytes += sum(len(chunk.data) for chunk in chunks)
        if self._task is not None and (self._task.done() or self._bytes > _MOST_BYTES_WAITING):
            task, self._task = self._task, None
            await task
        if self._task is None:
            self._task = asyncio.create_task(self._work())

    async def finish(self) -> None:
        """Waits until everything is stored.

        Raises:
            GatewayError: What storing raised; chunks that were not stored are lost.
        """
        while self._task is not None:
            task, self._task = self._task, None
            await task
            if self._waiting:
                self._task = asyncio.create_task(self._work())

    async def _work(self) -> None:
        while self._waiting:
            chunks, self._waiting, self._bytes = self._waiting, [], 0
            await self._save(chunks)
