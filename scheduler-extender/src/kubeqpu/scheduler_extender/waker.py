"""Wakes refused pods by changing a node."""

import asyncio
import time
from datetime import UTC, datetime

import structlog

from kubeqpu.common.backoff import Backoff
from kubeqpu.common.names import ANNOTATION_WAKE
from kubeqpu.kube.errors import APIServerError
from kubeqpu.kube.objects import ObjectsAPI
from kubeqpu.kube.resources import NODES
from kubeqpu.scheduler_extender.telemetry import Telemetry
from kubeqpu.scheduler_extender.wakeups import Wake, Wakeups

_LOG = structlog.get_logger(__name__)

# Every change tries all refused pods again, so there is at most one in this time.
INTERVAL_SECONDS = 1.0
# Changes that come together are looked at together.
_GATHER_SECONDS = 0.05
# Calibrations age without any change.
_LOOK_SECONDS = 5.0
_LONGEST_WAIT_SECONDS = 10.0


class Waker:
    """Changes a node when something became possible.

    Args:
        objects: The API server.
        wakeups: Who waits for what.
        changed: Set when something may have become possible.
        telemetry: Counts changes of nodes.
    """

    def __init__(
        self,
        objects: ObjectsAPI,
        wakeups: Wakeups,
        changed: asyncio.Event,
        telemetry: Telemetry,
    ) -> None:
        self._objects = objects
        self._wakeups = wakeups
        self._changed = changed
        self._telemetry = telemetry
        self._backoff = Backoff(_LONGEST_WAIT_SECONDS)

    async def run(self) -> None:
        """Wakes until cancelled; no error ends it."""
        while True:
            try:
                async with asyncio.timeout(_LOOK_SECONDS):
                    await self._changed.wait()
            except TimeoutError:
                pass
            self._changed.clear()
            try:
                wait = await self._look()
            except Exception:
                self._telemetry.count_error("wake")
                _LOG.exception("Waking failed")
                wait = self._backoff.fail()
            await asyncio.sleep(wait)

    async def _look(self) -> float:
        """Wakes if there is a reason; gives the seconds until the next look."""
        wake = self._wakeups.find_wake(time.monotonic())
        if wake is None:
            return _GATHER_SECONDS
        try:
            await self._change(wake)
        except APIServerError as error:
            self._telemetry.count_error("wake")
            _LOG.warning("Node not changed", node=wake.node, reason=str(error),
                         failures=self._backoff.failures)  # fmt: skip
            # It is still due, so it is looked at again without a change.
            self._changed.set()
            return self._backoff.fail()
        self._backoff.succeed()
        self._wakeups.confirm(wake, time.monotonic())
        self._telemetry.count_wake()
        _LOG.info("Refused pods woken", node=wake.node, demands=len(wake.demands))
        return INTERVAL_SECONDS

    async def _change(self, wake: Wake) -> None:
        stamp = datetime.now(UTC).isoformat(timespec="milliseconds")
        patch = {"metadata": {"annotations": {ANNOTATION_WAKE: stamp}}}
        await self._objects.merge(NODES, wake.node, patch)  # type: ignore[arg-type]
