"""Verdicts kept for a short time, and asked for once at a time."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


@dataclass(frozen=True)
class Verdict(Generic[V]):
    """An answer and how long it may be given again.

    Attributes:
        value: The answer.
        keep_seconds: For how long, from when it was asked for; 0 keeps nothing.
    """

    value: V
    keep_seconds: float


class VerdictCache(Generic[K, V]):
    """Remembers verdicts by key; of those that ask for the same at once, one asks for all.

    Age counts from when the question was put, so no answer is older than it may be. What was not
    used for longest is forgotten first.

    Args:
        capacity: Most verdicts remembered.
        clock: Gives seconds that never go back.
    """

    def __init__(self, capacity: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._capacity = capacity
        self._clock = clock
        self._kept: OrderedDict[K, tuple[float, V]] = OrderedDict()
        self._asked: dict[K, asyncio.Task[V]] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def find(self, key: K) -> V | None:
        """Gives the verdict that is remembered, or None."""
        found = self._kept.get(key)
        if found is None:
            return None
        if self._clock() >= found[0]:
            del self._kept[key]
            return None
        self._kept.move_to_end(key)
        return found[1]

    async def get(self, key: K, ask: Callable[[], Awaitable[Verdict[V]]]) -> V:
        """Gives the verdict on a key, asking for it if none is remembered.

        Args:
            key: What it is about.
            ask: Finds the verdict; one that is being asked for already is waited for instead.

        Raises:
            Exception: What `ask` raises, to all that wait for it; nothing is remembered then.
        """
        found = self.find(key)
        if found is not None:
            return found
        task = self._asked.get(key)
        if task is None:
            task = asyncio.create_task(self._ask(key, ask))
            self._asked[key] = task
            task.add_done_callback(_retrieve)
        # One that gives up must not take the answer from the others.
        return await asyncio.shield(task)

    async def _ask(self, key: K, ask: Callable[[], Awaitable[Verdict[V]]]) -> V:
        asked_at = self._clock()
        try:
            verdict = await ask()
        finally:
            del self._asked[key]
        ends_at = asked_at + verdict.keep_seconds
        if self._clock() < ends_at:
            self._kept[key] = (ends_at, verdict.value)
            self._kept.move_to_end(key)
            while len(self._kept) > self._capacity:
                self._kept.popitem(last=False)
        return verdict.value


def _retrieve(task: asyncio.Task[V]) -> None:
    """Looks at a failure that nobody waits for any more, which asyncio would log with a trace."""
    if not task.cancelled():
        task.exception()
