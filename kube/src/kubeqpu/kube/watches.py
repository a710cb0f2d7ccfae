"""Keeps up with all objects of a kind: lists them, then watches, over every interruption."""

import asyncio
import time
from collections.abc import Callable
from contextlib import aclosing

import structlog

from kubeqpu.common.backoff import Backoff
from kubeqpu.kube.errors import GONE, APIServerError
from kubeqpu.kube.objects import TIMEOUT_SECONDS, ObjectsAPI
from kubeqpu.kube.resources import (
    EVERYTHING,
    Listing,
    Manifest,
    Resource,
    Selection,
    WatchEvent,
    name_of,
    version_of,
)

_LOG = structlog.get_logger(__name__)

_LONGEST_WAIT_SECONDS = 10.0
# A watch that ends sooner ended for a reason: the next one waits.
_SOUND_SECONDS = 5.0


class ObjectWatch:
    """Tells what there is and what changes.

    Args:
        objects: The API server.
        kind: What to watch.
        on_list: Called with all objects, at first and whenever changes may have been missed.
        on_change: Called with an object that was made or changed.
        on_delete: Called with an object that is gone.
        selection: Which of them.
        silence_seconds: How long the server may say nothing before the watch is taken up anew;
            without one, a connection that died silently is noticed after two minutes.

    Attributes:
        heard_at: When the API server last told something, by `time.monotonic`; None before the
            first list. A sound watch hears at least a bookmark every minute.
        lost_at: Since when it does not answer; None while it does.
    """

    def __init__(
        self,
        objects: ObjectsAPI,
        kind: Resource,
        on_list: Callable[[tuple[Manifest, ...]], None],
        on_change: Callable[[Manifest], None],
        on_delete: Callable[[Manifest], None],
        selection: Selection = EVERYTHING,
        silence_seconds: float | None = None,
    ) -> None:
        self._objects = objects
        self._kind = kind
        self._on_list = on_list
        self._on_change = on_change
        self._on_delete = on_delete
        self._selection = selection
        self._silence_seconds = silence_seconds
        self._version = ""
        self._backoff = Backoff(_LONGEST_WAIT_SECONDS)
        self.heard_at: float | None = None
        self.lost_at: float | None = None

    async def run(self) -> None:
        """Watches until cancelled; no error ends it."""
        while True:
            began = time.monotonic()
            try:
                await self._follow()
            except APIServerError as error:
                if error.status == GONE:
                    self._version = ""
                _LOG.warning(
                    "Watch interrupted",
                    resource=self._kind.plural,
                    reason=str(error),
                    failures=self._backoff.failures,
                )
            except Exception:
                # What a callback did not understand may be missing now.
                self._version = ""
                _LOG.exception("Watch failed", resource=self._kind.plural)
            else:
                if time.monotonic() - began >= _SOUND_SECONDS:
                    self._hear()
                    self._backoff.succeed()
                    continue
            if time.monotonic() - began >= _SOUND_SECONDS:
                self._backoff.succeed()
            if self.lost_at is None:
                self.lost_at = time.monotonic()
            await asyncio.sleep(self._backoff.fail())

    async def list_once(self, seconds: float) -> None:
        """Lists all objects, from where `run` then goes on.

        Raises:
            APIServerError: If that fails.
        """
        self._take(await self._objects.list(self._kind, self._selection, seconds))

    async def _follow(self) -> None:
        if not self._version:
            await self.list_once(TIMEOUT_SECONDS)
        events = self._objects.watch(
            self._kind, self._version, self._selection, self._hear, self._silence_seconds
        )
        async with aclosing(events) as stream:
            async for event in stream:
                self._handle(event)

    def _hear(self) -> None:
        self.heard_at, self.lost_at = time.monotonic(), None

    def _take(self, listing: Listing) -> None:
        self._on_list(listing.items)
        self._hear()
        self._version = listing.resource_version

    def _handle(self, event: WatchEvent) -> None:
        if event.type in ("ADDED", "MODIFIED"):
            self._on_change(event.object)
        elif event.type == "DELETED":
            _LOG.debug("Object deleted", resource=self._kind.plural, name=name_of(event.object))
            self._on_delete(event.object)
        self._version = version_of(event.object) or self._version
        self._hear()
