"""Loops that survive every error, and whether they still go round."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import structlog

from kubeqpu.deviceplugin.backoff import Backoff
from kubeqpu.deviceplugin.telemetry import Telemetry

_LOG = structlog.get_logger(__name__)
# A loop that lasted so long before it failed starts again at once.
_HEALTHY_SECONDS = 60.0


class Progress:
    """When each loop last came round.

    Args:
        limit_seconds: How long a loop may take for one round.
    """

    def __init__(self, limit_seconds: float = 60.0) -> None:
        self._limit_seconds = limit_seconds
        self._rounds: dict[str, float] = {}

    def beat(self, loop: str) -> None:
        """Notes that a loop came round."""
        self._rounds[loop] = time.monotonic()

    def find_stalled(self) -> dict[str, float]:
        """Finds the loops that hang, with the seconds since they came round."""
        now = time.monotonic()
        ages = {loop: now - last for loop, last in self._rounds.items()}
        return {loop: age for loop, age in ages.items() if age > self._limit_seconds}


async def keep_running(
    name: str, body: Callable[[], Awaitable[None]], telemetry: Telemetry
) -> None:
    """Runs a loop until it is cancelled, and again whenever it ends by an error of ours.

    Args:
        name: Name of the loop, for the log.
        body: The loop; it handles the errors it expects.
        telemetry: Counts the others.
    """
    backoff = Backoff(0.1, 10.0)
    while True:
        started = time.monotonic()
        try:
            await body()
            return
        except Exception:  # whatever it is, the process goes on
            if time.monotonic() - started > _HEALTHY_SECONDS:
                backoff.succeed()
            wait_seconds = backoff.fail()
            telemetry.fail("internal", wait_seconds)
            _LOG.exception("Loop failed", loop=name, retried_after_seconds=round(wait_seconds, 2))
            await asyncio.sleep(wait_seconds)
            telemetry.succeed("internal")


class Report:
    """Logs a failure once, and again when it becomes another one or ends.

    Args:
        failed: Event to log for a failure.
        recovered: Event to log when it ended.
        details: What identifies the failing thing.
    """

    def __init__(self, failed: str, recovered: str, **details: str) -> None:
        self._failed = failed
        self._recovered = recovered
        self._details = details
        self._reason = ""

    def fail(self, reason: str) -> None:
        """Notes a failure."""
        if reason != self._reason:
            self._reason = reason
            _LOG.warning(self._failed, reason=reason, **self._details)

    def succeed(self) -> None:
        """Notes a success."""
        if self._reason:
            self._reason = ""
            _LOG.info(self._recovered, **self._details)
