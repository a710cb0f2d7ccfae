"""The classes and QPUs of the cluster, kept up to date by watches."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime

import structlog

from kubeqpu.admission.webhooks.outlooks import Offer, Outlook, look
from kubeqpu.common import api
from kubeqpu.common.classes import Classes
from kubeqpu.common.requests import PodRequest
from kubeqpu.kube.objects import ObjectsAPI
from kubeqpu.kube.resources import QPU_CLASSES, QPUS, Manifest, name_of
from kubeqpu.kube.watches import ObjectWatch

_LOG = structlog.get_logger(__name__)


class Catalogue:
    """Follows the API server.

    Args:
        objects: The API server.

    Attributes:
        classes: The classes.
        offers: The QPUs by name.
    """

    def __init__(self, objects: ObjectsAPI) -> None:
        self.classes = Classes()
        self.offers: dict[str, Offer] = {}
        self._watches = (
            ObjectWatch(
                objects, QPU_CLASSES, self._list_classes, self._put_class, self._drop_class
            ),
            ObjectWatch(objects, QPUS, self._list_qpus, self._put_qpu, self._drop_qpu),
        )

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

    def _list_classes(self, manifests: tuple[Manifest, ...]) -> None:
        self.classes.keep(name_of(manifest) for manifest in manifests)
        for manifest in manifests:
            self._put_class(manifest)

    def _put_class(self, manifest: Manifest) -> None:
        _take("qpuclasses", manifest, lambda: self.classes.put(_read_class(manifest)))

    def _drop_class(self, manifest: Manifest) -> None:
        self.classes.drop(name_of(manifest))

    def _list_qpus(self, manifests: tuple[Manifest, ...]) -> None:
        for name in set(self.offers) - {name_of(manifest) for manifest in manifests}:
            del self.offers[name]
        for manifest in manifests:
            self._put_qpu(manifest)

    def _put_qpu(self, manifest: Manifest) -> None:
        def put() -> None:
            found = api.QPU.from_manifest(manifest)
            offer = Offer(found.spec.resource_name.value, api.plain_qpu(found))
            self.offers[found.metadata.name] = offer

        _take("qpus", manifest, put)

    def _drop_qpu(self, manifest: Manifest) -> None:
        self.offers.pop(name_of(manifest), None)


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
