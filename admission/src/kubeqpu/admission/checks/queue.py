"""Keys that something has to be done about, each by one worker at a time."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

import structlog

_Key = TypeVar("_Key", bound=Hashable)
_LOG = structlog.get_logger(__name__)


class KeyQueue(Generic[_Key]):
    """Hands keys to workers.

    A key that is added while it waits is handed out once; one that is added while it is worked on
    is handed out again afterwards.
    """

    def __init__(self) -> None:
        self._queue: asyncio.Queue[_Key] = asyncio.Queue()
        self._waiting: set[_Key] = set()
        self._busy: set[_Key] = set()
        self._again: set[_Key] = set()
        self._timers: dict[_Key, asyncio.TimerHandle] = {}

    def add(self, key: _Key) -> None:
        """Adds a key at once."""
        if timer := self._timers.pop(key, None):
            timer.cancel()
        if key in self._busy:
            self._again.add(key)
        elif key not in self._waiting:
            self._waiting.add(key)
            self._queue.put_nowait(key)

    def add_later(self, key: _Key, seconds: float) -> None:
        """Adds a key after a time, unless it is added before."""
        loop = asyncio.get_running_loop()
        due, known = loop.time() + seconds, self._timers.get(key)
        if known is not None and known.when() <= due:
            return
        if known is not None:
            known.cancel()
        self._timers[key] = loop.call_at(due, self.add, key)

    def forget(self, key: _Key) -> None:
        """Drops what was to come later for a key."""
        if timer := self._timers.pop(key, None):
            timer.cancel()

    async def work(self, handle: Callable[[_Key], Awaitable[None]], workers: int) -> None:
        """Has keys handled until cancelled; no error ends it.

        Args:
            handle: What is done about a key.
            workers: How many keys at a time.
        """
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(workers):
                    group.create_task(self._work(handle))
        finally:
            for timer in self._timers.values():
                timer.cancel()
            self._timers.clear()

    async def _work(self, handle: Callable[[_Key], Awaitable[None]]) -> None:
        while True:
            key = await self._queue.get()
            self._waiting.discard(key)
            self._busy.add(key)
            try:
                await handle(key)
            except Exception:
                _LOG.exception("Key not handled", key=str(key))
            finally:
                self._busy.discard(key)
                if key in self._again:
                    self._again.discard(key)
                    self.add(key)
