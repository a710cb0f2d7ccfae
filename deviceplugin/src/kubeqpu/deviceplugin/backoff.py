"""Waiting between attempts that fail, longer each time."""

import random


class Backoff:
    """How long to wait after a failure: doubled each time, with jitter.

    Args:
        shortest_seconds: Wait after the first failure.
        longest_seconds: Longest wait.

    Attributes:
        failures: Failures in a row.
    """

    def __init__(self, shortest_seconds: float, longest_seconds: float) -> None:
        self._shortest_seconds = shortest_seconds
        self._longest_seconds = longest_seconds
        self._random = random.Random()  # noqa: S311 - jitter, no secret
        self.failures = 0

    def fail(self) -> float:
        """Notes a failure; returns how many seconds to wait."""
        grown = self._shortest_seconds * 2.0 ** min(self.failures, 30)
        self.failures += 1
        return min(grown, self._longest_seconds) * self._random.uniform(0.5, 1.0)

    def succeed(self) -> None:
        """Notes a success: the next failure is a first one again."""
        self.failures = 0
