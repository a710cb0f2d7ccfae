"""Waiting between attempts that fail, longer each time."""

import random
import time
from collections.abc import Callable

FIRST_RETRY_SECONDS = 0.25
LONGEST_RETRY_SECONDS = 30.0


def choose_retry_seconds(
    attempt: int, generator: random.Random, longest_seconds: float = LONGEST_RETRY_SECONDS
) -> float:
    """Chooses how long to wait before trying again: exponential, with jitter.

    Args:
        attempt: Failures in a row, counted from 1.
        generator: Source of the jitter, which keeps many processes from coming back at once.
        longest_seconds: Longest wait.
    """
    longest = min(longest_seconds, FIRST_RETRY_SECONDS * 2.0 ** min(attempt - 1, 30))
    return longest * generator.uniform(0.5, 1.0)


class Backoff:
    """When something that failed may be tried again.

    Args:
        longest_seconds: Longest wait.
        clock: Tells the time in seconds.

    Attributes:
        failures: Failures in a row.
    """

    def __init__(
        self,
        longest_seconds: float = LONGEST_RETRY_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.failures = 0
        self._longest_seconds = longest_seconds
        self._clock = clock
        self._retry_at = 0.0
        self._random = random.Random()  # noqa: S311 - jitter, no secret

    @property
    def seconds_left(self) -> float:
        """How long to wait from now on; 0 where nothing has to wait."""
        return max(0.0, self._retry_at - self._clock())

    def fail(self) -> float:
        """Notes a failure and returns how long to wait.

        What fails while the wait is on began before it: that is the same failure, seen again.
        """
        if self.seconds_left == 0:
            self.failures += 1
            wait = choose_retry_seconds(self.failures, self._random, self._longest_seconds)
            self._retry_at = self._clock() + wait
        return self.seconds_left

    def succeed(self) -> None:
        """Notes a success: the next failure is a first one again."""
        self.failures = 0
