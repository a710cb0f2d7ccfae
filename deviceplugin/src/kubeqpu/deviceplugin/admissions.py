"""Keeps Lists out of the kubelet's admissions.

A kubelet that is asked for PodResources makes up anew which slots are taken, from the pods that
have theirs: one that it has chosen and whose Allocate it waits for counts as free then, and it
gives it to the next pod, too. It chooses after GetPreferredAllocation was answered, and admits one
pod at a time.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

# An Allocate follows at once; a kubelet that was stopped in between asks again anyway.
CHOICE_SECONDS = 2.0
# Until the answer to an Allocate is on the kubelet's books, on a busy node too.
ANSWER_SECONDS = 0.1
# A kubelet that does not answer its List must not keep pods from starting.
_PATIENCE_SECONDS = 0.5


class Admissions:
    """Lets Lists and admissions take turns."""

    def __init__(self) -> None:
        self._closed_until = 0.0
        self._changed = asyncio.Event()
        self._lists = 0
        self._finished = asyncio.Event()

    async def begin(self) -> None:
        """Waits for a List that is on its way or due, and keeps others out from here on.

        To be awaited before GetPreferredAllocation is answered: the admission before is over.
        """
        self._close(0.0)
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                while self._lists:
                    await self._finished.wait()
        except TimeoutError:
            pass
        self._close(CHOICE_SECONDS)

    def answer(self) -> None:
        """Notes that an Allocate is answered: Lists may come soon."""
        self._close(ANSWER_SECONDS)

    @asynccontextmanager
    async def listing(self) -> AsyncIterator[None]:
        """Waits until no admission is under way; the next waits while the context is open."""
        self._lists += 1
        try:
            await self._until_open()
            yield
        finally:
            self._lists -= 1
            self._finished.set()
            self._finished = asyncio.Event()

    async def _until_open(self) -> None:
        while (left := self._closed_until - time.monotonic()) > 0:
            try:
                async with asyncio.timeout(left):
                    await self._changed.wait()
            except TimeoutError:
                continue

    def _close(self, seconds: float) -> None:
        self._closed_until = time.monotonic() + seconds
        # Lists that wait since the choice need not wait any longer than those after the answer.
        self._changed.set()
        self._changed = asyncio.Event()
