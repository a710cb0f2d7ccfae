"""Loops that survive every error, and what is known of their progress."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping

import structlog

from kubeqpu.admission.errors import ClusterError
from kubeqpu.admission.telemetry import Telemetry
from kubeqpu.kube.errors import APIServerError

_LOG = structlog.get_logger(__name__)
_MAX_BACKOFF_SECONDS = 8.0


class Progress:
    """Since when each loop has not come round.

    Args:
        limits_seconds: How long each loop may take for one round, by its name.
        clock: Monotonic seconds.
    """

    def __init__(
        self, limits_seconds: Mapping[str, float], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._limits = dict(limits_seconds)
        self._clock = clock
        self._rounds = dict.fromkeys(limits_seconds, clock())

    def beat(self, loop: str) -> None:
        """Notes that a loop came round."""
        self._rounds[loop] = self._clock()

    def find_stalled(self) -> dict[str, float]:
        """Finds the loops that take too long, with the seconds since they came round."""
        now = self._clock()
        ages = {loop: now - last for loop, last in self._rounds.items()}
        return {loop: age for loop, age in ages.items() if age > self._limits[loop]}


class Loop:
    """Runs a step again and again.

    A failure is logged once, and again only when it becomes another one or ends.

    Args:
        name: Its name in logs, metrics and health.
        step: What it does; gives the seconds to wait until the next time.
        progress: Learns of every round.
        telemetry: Counts errors and time.
    """

    def __init__(
        self,
        name: str,
        step: Callable[[], Awaitable[float]],
        progress: Progress,
        telemetry: Telemetry,
    ) -> None:
        self._name = name
        self._step = step
        self._progress = progress
        self._telemetry = telemetry
        self._wake = asyncio.Event()
        self._failure = ""
        self._failures = 0

    def wake(self) -> None:
        """Ends its present wait."""
        self._wake.set()

    async def run(self) -> None:
        """Runs until it is cancelled."""
        while True:
            self._wake.clear()
            delay_seconds = await self._round()
            self._progress.beat(self._name)
            try:
                async with asyncio.timeout(delay_seconds):
                    await self._wake.wait()
            except TimeoutError:
                pass

    async def _round(self) -> float:
        started = time.monotonic()
        try:
            delay_seconds = await self._step()
        except Exception as error:  # whatever it is, the loop goes on
            self._fail(error)
            backoff = min(2.0 ** min(self._failures - 1, 10), _MAX_BACKOFF_SECONDS)
            return backoff * random.uniform(0.5, 1.0)  # noqa: S311 - no secret
        finally:
            self._telemetry.record_step(self._name, time.monotonic() - started)
        if self._failure:
            _LOG.info("Loop recovered", loop=self._name, failures=self._failures)
        self._failure, self._failures = "", 0
        return delay_seconds

    def _fail(self, error: Exception) -> None:
        self._telemetry.count_error(self._name)
        self._failures += 1
        failure = f"{type(error).__name__}: {error}"
        if failure == self._failure:
            return
        self._failure = failure
        # What the API server did needs no stack; what we did does.
        unforeseen = not isinstance(error, (ClusterError, APIServerError))
        _LOG.warning("Loop failed", loop=self._name, error=str(error), exc_info=unforeseen)
