"""Whether the API server serves a kind that others install, such as Kueue's or JobSet's."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog
from pydantic import BaseModel, ValidationError

from kubeqpu.kube.errors import APIServerError
from kubeqpu.kube.objects import ObjectsAPI
from kubeqpu.kube.resources import Resource

LOOK_SECONDS = 30.0

_LOG = structlog.get_logger(__name__)
_TIMEOUT_SECONDS = 5.0
# Before the first answer nothing is known, so it is asked for sooner.
_FIRST_LOOK_SECONDS = 2.0


class _Named(BaseModel):
    name: str


class _Kinds(BaseModel):
    resources: list[_Named]


class Presence:
    """Looks now and then whether a kind is served.

    That it is not is no error: what needs it waits. While the API server does not answer, what was
    known last holds.

    Args:
        objects: The API server.
        kind: What is looked for, such as Kueue's workloads.
        look_seconds: How often.

    Attributes:
        served: Whether it was served when looked for last; None before the first answer.
    """

    def __init__(
        self, objects: ObjectsAPI, kind: Resource, look_seconds: float = LOOK_SECONDS
    ) -> None:
        self._objects = objects
        self._kind = kind
        self._group = Resource(kind.group, kind.version, "")
        self._look_seconds = look_seconds
        self._listeners: list[Callable[[bool], None]] = []
        self._changed = asyncio.Condition()
        self.served: bool | None = None

    def listen(self, listener: Callable[[bool], None]) -> None:
        """Has a function told the first answer and every change; it may not wait."""
        self._listeners.append(listener)

    async def run(self) -> None:
        """Looks until cancelled; no error ends it."""
        while True:
            try:
                await self._take(await self._look())
            except (APIServerError, ValidationError) as error:
                _LOG.warning("Kind not looked for", resource=self._name, reason=str(error))
            known = self.served is not None
            await asyncio.sleep(
                self._look_seconds if known else min(self._look_seconds, _FIRST_LOOK_SECONDS)
            )

    async def attend(self, work: Callable[[], Awaitable[None]]) -> None:
        """Does something while the kind is served, until cancelled.

        Args:
            work: Started each time the kind appears, such as watches of it; cancelled when it goes.
                It is started anew after an error.
        """
        while True:
            await self._until(served=True)
            doing = asyncio.ensure_future(work())
            going = asyncio.create_task(self._until(served=False))
            try:
                await asyncio.wait((doing, going), return_when=asyncio.FIRST_COMPLETED)
                if doing.done() and not going.done():
                    _report(self._name, doing)
                    await asyncio.sleep(self._look_seconds)
            finally:
                for task in (doing, going):
                    task.cancel()
                await asyncio.gather(doing, going, return_exceptions=True)

    async def _until(self, *, served: bool) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: self.served is served)

    @property
    def _name(self) -> str:
        return f"{self._kind.plural}.{self._kind.version}.{self._kind.group}"

    async def _look(self) -> bool:
        found = await self._objects.read(self._group, "", _TIMEOUT_SECONDS)
        if found is None:
            return False
        return any(
            kind.name == self._kind.plural for kind in _Kinds.model_validate(found).resources
        )

    async def _take(self, served: bool) -> None:
        if served is self.served:
            return
        self.served = served
        _LOG.info("Kind found" if served else "Kind not served", resource=self._name)
        for listener in self._listeners:
            listener(served)
        async with self._changed:
            self._changed.notify_all()


def _report(name: str, done: asyncio.Future[None]) -> None:
    if not done.cancelled():
        _LOG.error("Work ended", resource=name, exc_info=done.exception())
