"""Tells people by Events where pods were placed and why."""

import asyncio
import uuid
from datetime import UTC, datetime

import structlog
from pydantic import JsonValue

from kubeqpu.kube.errors import APIServerError
from kubeqpu.kube.objects import ObjectsAPI
from kubeqpu.kube.resources import EVENTS, Manifest
from kubeqpu.scheduler_extender.telemetry import Telemetry

_LOG = structlog.get_logger(__name__)

MOST_WAITING = 1000
REASON = "Placed"
CONTROLLER = "kubeqpu.io/scheduler-extender"
# The API server's limits.
_MAX_NOTE_LENGTH = 1024
_MAX_INSTANCE_LENGTH = 128


class EventQueue:
    """Writes Events in the background; what comes faster than it can be written is given up.

    Args:
        objects: The API server.
        telemetry: Counts Events.
        instance: Name of this pod.
        most: How many may wait.
    """

    def __init__(
        self, objects: ObjectsAPI, telemetry: Telemetry, instance: str, most: int = MOST_WAITING
    ) -> None:
        self._objects = objects
        self._telemetry = telemetry
        self._instance = instance[:_MAX_INSTANCE_LENGTH]
        self._queue: asyncio.Queue[Manifest] = asyncio.Queue(most)

    def tell(self, namespace: str, name: str, uid: str, sentence: str) -> None:
        """Tells about a pod; never waits.

        Args:
            namespace: The pod's namespace.
            name: The pod's name.
            uid: The pod's uid.
            sentence: What to tell.
        """
        regarding: dict[str, JsonValue] = {
            "apiVersion": "v1",
            "kind": "Pod",
            "namespace": namespace,
            "name": name,
            "uid": uid,
        }
        event: Manifest = {
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {"name": f"{name[:200]}.{uuid.uuid4().hex[:16]}", "namespace": namespace},
            "eventTime": datetime.now(UTC)
            .isoformat(timespec="microseconds")
            .replace("+00:00", "Z"),
            "type": "Normal",
            "reason": REASON,
            "action": "Placing",
            "note": sentence[:_MAX_NOTE_LENGTH],
            "reportingController": CONTROLLER,
            "reportingInstance": self._instance,
            "regarding": regarding,
        }
        try:
            self._queue.put_nowait(event)
        except asyncio.QueueFull:
            self._telemetry.count_event(written=False)

    async def run(self) -> None:
        """Writes until cancelled; no error ends it."""
        while True:
            event = await self._queue.get()
            try:
                await self._write(event)
            finally:
                self._queue.task_done()

    async def drain(self, seconds: float) -> None:
        """Waits until all is written, for so long at most."""
        try:
            async with asyncio.timeout(seconds):
                await self._queue.join()
        except TimeoutError:
            _LOG.warning("Events given up", events=self._queue.qsize())

    async def _write(self, event: Manifest) -> None:
        metadata = event["metadata"]
        namespace = str(metadata["namespace"]) if isinstance(metadata, dict) else ""
        try:
            await self._objects.create(EVENTS.within(namespace), event)
        except asyncio.CancelledError:
            self._telemetry.count_event(written=False)
            raise
        except Exception as error:  # whatever it is, the next is written
            self._telemetry.count_event(written=False)
            self._telemetry.count_error("event")
            unforeseen = not isinstance(error, APIServerError)
            _LOG.warning("Event not written", reason=str(error), exc_info=unforeseen)
        else:
            self._telemetry.count_event(written=True)
