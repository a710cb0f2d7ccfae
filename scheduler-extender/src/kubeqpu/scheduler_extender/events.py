"""Tells people by Events where pods were placed and why."""

import asyncio
import time
from collections.abc import Callable

import structlog

from kubeqpu.kube.errors import APIServerError
from kubeqpu.kube.events import Regarding, Reporter, write_event
from kubeqpu.kube.objects import ObjectsAPI
from kubeqpu.kube.resources import EVENTS, Manifest
from kubeqpu.scheduler_extender.activity import Activity
from kubeqpu.scheduler_extender.telemetry import Telemetry

_LOG = structlog.get_logger(__name__)

MOST_WAITING = 4000
# Placing pods comes first; so long, telling about them may wait for it.
LONGEST_DELAY_SECONDS = 20.0
REASON = "Placed"
CONTROLLER = "kubeqpu.io/scheduler-extender"


class EventQueue:
    """Writes Events while the scheduler rests, or when they have waited for long.

    What comes faster than it can be written is given up.

    Args:
        objects: The API server.
        telemetry: Counts Events.
        activity: Tells whether the scheduler rests.
        instance: Name of this pod.
        most: How many may wait.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        objects: ObjectsAPI,
        telemetry: Telemetry,
        activity: Activity,
        instance: str,
        most: int = MOST_WAITING,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._objects = objects
        self._telemetry = telemetry
        self._reporter = Reporter(CONTROLLER, instance)
        self._activity = activity
        self._clock = clock
        self._queue: asyncio.Queue[tuple[Manifest, float]] = asyncio.Queue(most)

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
            self._queue.put_nowait((event, self._clock() + LONGEST_DELAY_SECONDS))
        except asyncio.QueueFull:
            self._telemetry.count_event(written=False)

    async def run(self) -> None:
        """Writes until cancelled; no error ends it."""
        while True:
            event, due = await self._queue.get()
            try:
                await self._activity.rest(until=due)
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
