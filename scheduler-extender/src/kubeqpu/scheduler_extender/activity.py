"""Whether the scheduler wants something, for work that can wait until it does not."""

import asyncio
import time
from collections.abc import Callable

# The scheduler asks about the next pod well within it.
REST_SECONDS = 0.1


class Activity:
    """Notes when the scheduler asked last.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._asked_at = clock() - REST_SECONDS

    def note(self) -> None:
        """Notes that it asks now."""
        self._asked_at = self._clock()

    async def rest(self, until: float) -> None:
        """Waits until it has not asked for a moment.

        Args:
            until: When to wait no longer, by the clock.
        """
        while True:
            seconds = min(until, self._asked_at + REST_SECONDS) - self._clock()
            if seconds <= 0:
                return
            await asyncio.sleep(seconds)
