"""The classes and QPUs of the cluster, kept up to date by watches."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeVar

import structlog

from kubeqpu.admission.outlooks import Offer, Outlook, look
from kubeqpu.common import api
from kubeqpu.common.classes import Classes
from kubeqpu.common.requests import PodRequest
from kubeqpu.kube.objects import ObjectsAPI
from kubeqpu.kube.resources import QPU_CLASSES, QPUS, Manifest, Resource, name_of
from kubeqpu.kube.watches import ObjectWatch

_Seen = TypeVar("_Seen")

_LOG = structlog.get_logger(__name__)


class Catalogue:
    """Follows the API server.

    Args:
        objects: The API server.

    Attributes:
        classes: The classes.
        qpus: The QPUs by name.
        offers: What placement knows of them, by name.
    """

    def __init__(self, objects: ObjectsAPI) -> None:
        self.classes = Classes()
        self.qpus: dict[str, api.QPU] = {}
        self.offers: dict[str, Offer] = {}
        self._listeners: list[Callable[[], None]] = []
        self._watches = (
            self._watch(
                objects, QPU_CLASSES, self._list_classes, self._put_class, self._drop_class
            ),
            self._watch(objects, QPUS, self._list_qpus, self._put_qpu, self._drop_qpu),
        )

    def listen(self, listener: Callable[[], None]) -> None:
        """Has a function called after every change; it may not wait."""
        self._listeners.append(listener)

    async def run(self) -> None:
        """Follows until cancelled."""
        async with asyncio.TaskGroup() as group:
            for watch in self._watches:
                group.create_task(watch.run())

    def is_complete(self) -> bool:
        """Tells whether all classes and QPUs were seen, so that none is called unknown."""
        return all(watch.heard_at is not None for watch in self._watches)

    def look(self, request: PodRequest) -> Outlook:
        """Tells what a request can expect now."""
        return look(request, self.classes, self.offers.values(), datetime.now(UTC))

    def _watch(
        self,
        objects: ObjectsAPI,
        kind: Resource,
        take_all: Callable[[tuple[Manifest, ...]], None],
        put: Callable[[Manifest], None],
        drop: Callable[[Manifest], None],
    ) -> ObjectWatch:
        return ObjectWatch(
            objects, kind, self._telling(take_all), self._telling(put), self._telling(drop)
        )

    def _telling(self, take: Callable[[_Seen], None]) -> Callable[[_Seen], None]:
        def take_and_tell(seen: _Seen) -> None:
            take(seen)
            for listener in self._listeners:
                listener()

        return take_and_tell

    def _list_classes(self, manifests: tuple[Manifest, ...]) -> None:
        self.classes.keep(name_of(manifest) for manifest in manifests)
        for manifest in manifests:
            self._put_class(manifest)

    def _put_class(self, manifest: Manifest) -> None:
        _take("qpuclasses", manifest, lambda: self.classes.put(_read_class(manifest)))

    def _drop_class(self, manifest: Manifest) -> None:
        self.classes.drop(name_of(manifest))

    def _list_qpus(self, manifests: tuple[Manifest, ...]) -> None:
        for name in set(self.qpus) - {name_of(manifest) for manifest in manifests}:
            self._forget(name)
        for manifest in manifests:
            self._put_qpu(manifest)

    def _put_qpu(self, manifest: Manifest) -> None:
        def put() -> None:
            found = api.QPU.from_manifest(manifest)
            offer = Offer(found.spec.resource_name.value, api.plain_qpu(found))
            self.qpus[found.metadata.name] = found
            self.offers[found.metadata.name] = offer

        _take("qpus", manifest, put)

    def _drop_qpu(self, manifest: Manifest) -> None:
        self._forget(name_of(manifest))

    def _forget(self, name: str) -> None:
        self.qpus.pop(name, None)
        self.offers.pop(name, None)


def _read_class(manifest: Manifest) -> api.QPUClass:
    found = api.QPUClass.from_manifest(manifest)
    api.placement_class(found)  # refuses what placement could not use
    return found


def _take(resource: str, manifest: Manifest, put: Callable[[], None]) -> None:
    try:
        put()
    except ValueError as error:
        # What was known of it stays: the API server checks what it takes, so this is a newer
        # version's object.
        _LOG.warning(
            "Object not understood", resource=resource, name=name_of(manifest), reason=str(error)
        )
