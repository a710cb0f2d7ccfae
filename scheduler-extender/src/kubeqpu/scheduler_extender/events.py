"""Tells people by Events where pods were placed and why."""

import asyncio

import structlog

from kubeqpu.kube.errors import APIServerError
from kubeqpu.kube.events import Regarding, Reporter, write_event
from kubeqpu.kube.objects import ObjectsAPI
from kubeqpu.kube.resources import EVENTS, Manifest
from kubeqpu.scheduler_extender.telemetry import Telemetry

_LOG = structlog.get_logger(__name__)

MOST_WAITING = 1000
REASON = "Placed"
CONTROLLER = "kubeqpu.io/scheduler-extender"


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
        self._reporter = Reporter(CONTROLLER, instance)
        self._queue: asyncio.Queue[Manifest] = asyncio.Queue(most)

    def tell(self, namespace: str, name: str, uid: str, sentence: str) -> None:
        """Tells about a pod; never waits.

        Args:
            namespace: The pod's namespace.
            name: The pod's name.
            uid: The pod's uid.
            sentence: What to tell.
        """
        event = write_event(
            Regarding("v1", "Pod", name, uid, namespace),
            self._reporter,
            reason=REASON,
            action="Placing",
            note=sentence,
        )
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
