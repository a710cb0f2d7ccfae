"""Logging refusals without letting callers fill the log."""

import time
from collections.abc import Callable


class LogBudget:
    """Allows so many lines at once and so many per second after that.

    Args:
        burst: Most lines at once.
        per_second: How fast spent lines come back.
        clock: Gives seconds that never go back.
    """

    def __init__(
        self,
        burst: int = 20,
        per_second: float = 0.5,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._burst = burst
        self._per_second = per_second
        self._clock = clock
        self._left = float(burst)
        self._counted_at = clock()
        self._suppressed = 0

    def spend(self) -> int | None:
        """Takes one line: gives how many were suppressed since the last, or None for none left."""
        now = self._clock()
        earned = (now - self._counted_at) * self._per_second
        self._left = min(float(self._burst), self._left + earned)
        self._counted_at = now
        if self._left < 1.0:
            self._suppressed += 1
            return None
        self._left -= 1.0
        suppressed, self._suppressed = self._suppressed, 0
        return suppressed
