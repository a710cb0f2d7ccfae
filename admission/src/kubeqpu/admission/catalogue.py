"""The classes, QPUs and quotas of the cluster, kept up to date by watches."""

import asyncio
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TypeVar

import structlog

from kubeqpu.admission import budgets
from kubeqpu.admission.outlooks import Offer, Outlook, look
from kubeqpu.common import api
from kubeqpu.common.classes import Classes
from kubeqpu.common.requests import PodRequest
from kubeqpu.kube.objects import ObjectsAPI
from kubeqpu.kube.resources import (
    QPU_CLASSES,
    QPU_QUOTAS,
    QPUS,
    Manifest,
    Resource,
    name_of,
    namespace_of,
)
from kubeqpu.kube.watches import ObjectWatch

_Seen = TypeVar("_Seen")

_LOG = structlog.get_logger(__name__)


@dataclass(frozen=True)
class _QPUFollower:
    see_all: Callable[[Collection[api.QPU]], None]
    see: Callable[[api.QPU], None]
    forget: Callable[[str], None]


class Catalogue:
    """Follows the API server.

    Args:
        objects: The API server.

    Attributes:
        classes: The classes.
        qpus: The QPUs by name.
        offers: What placement knows of them, by name.
        quotas: The quotas by namespace and name.
    """

    def __init__(self, objects: ObjectsAPI) -> None:
        self.classes = Classes()
        self.qpus: dict[str, api.QPU] = {}
        self.offers: dict[str, Offer] = {}
        self.quotas: dict[str, dict[str, api.QPUQuota]] = {}
        self._listeners: list[tuple[Callable[[], None], tuple[Resource, ...]]] = []
        self._followers: list[_QPUFollower] = []
        self._watches = (
            self._watch(
                objects, QPU_CLASSES, self._list_classes, self._put_class, self._drop_class
            ),
            self._watch(objects, QPUS, self._list_qpus, self._put_qpu, self._drop_qpu),
            self._watch(objects, QPU_QUOTAS, self._list_quotas, self._put_quota, self._drop_quota),
        )

    def listen(self, listener: Callable[[], None], *kinds: Resource) -> None:
        """Has a function called after every change; it may not wait.

        Args:
            listener: The function.
            kinds: Changes of which it is called for; without any, of all.
        """
        self._listeners.append((listener, kinds))

    def follow_qpus(
        self,
        on_list: Callable[[Collection[api.QPU]], None],
        on_change: Callable[[api.QPU], None],
        on_delete: Callable[[str], None],
    ) -> None:
        """Has functions told of QPUs; none may wait.

        Args:
            on_list: Called with all QPUs, at first and whenever changes may have been missed.
            on_change: Called with one that is new or changed.
            on_delete: Called with the name of one that is gone.
        """
        self._followers.append(_QPUFollower(on_list, on_change, on_delete))

    async def run(self) -> None:
        """Follows until cancelled."""
        async with asyncio.TaskGroup() as group:
            for watch in self._watches:
                group.create_task(watch.run())

    def is_complete(self) -> bool:
        """Tells whether all there is was seen, so that none is called unknown."""
        return all(watch.heard_at is not None for watch in self._watches)

    def look(self, request: PodRequest, namespace: str) -> Outlook:
        """Tells what a request can expect now.

        Args:
            request: What a pod asks for.
            namespace: The pod's namespace, whose budget holds.
        """
        found = look(request, self.classes, self.offers.values(), datetime.now(UTC))
        quotas = self.quotas.get(namespace)
        if not quotas or not request.resources:
            return found
        return replace(found, grounds=(*budgets.find_spent(quotas.values()), *found.grounds))

    def _watch(
        self,
        objects: ObjectsAPI,
        kind: Resource,
        take_all: Callable[[tuple[Manifest, ...]], None],
        put: Callable[[Manifest], None],
        drop: Callable[[Manifest], None],
    ) -> ObjectWatch:
        def telling(take: Callable[[_Seen], None]) -> Callable[[_Seen], None]:
            def take_and_tell(seen: _Seen) -> None:
                take(seen)
                for listener, kinds in self._listeners:
                    if not kinds or kind in kinds:
                        listener()

            return take_and_tell

        return ObjectWatch(objects, kind, telling(take_all), telling(put), telling(drop))

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
            self._take_qpu(manifest)
        for follower in self._followers:
            follower.see_all(self.qpus.values())

    def _put_qpu(self, manifest: Manifest) -> None:
        found = self._take_qpu(manifest)
        for follower in self._followers if found else ():
            follower.see(self.qpus[name_of(manifest)])

    def _take_qpu(self, manifest: Manifest) -> bool:
        def put() -> None:
            found = api.QPU.from_manifest(manifest)
            offer = Offer(found.spec.resource_name.value, api.plain_qpu(found))
            self.qpus[found.metadata.name] = found
            self.offers[found.metadata.name] = offer

        return _take("qpus", manifest, put)

    def _drop_qpu(self, manifest: Manifest) -> None:
        self._forget(name_of(manifest))
        for follower in self._followers:
            follower.forget(name_of(manifest))

    def _forget(self, name: str) -> None:
        self.qpus.pop(name, None)
        self.offers.pop(name, None)

    def _list_quotas(self, manifests: tuple[Manifest, ...]) -> None:
        there = {(namespace_of(manifest), name_of(manifest)) for manifest in manifests}
        known = {(space, name) for space, found in self.quotas.items() for name in found}
        for space, name in known - there:
            self._forget_quota(space, name)
        for manifest in manifests:
            self._put_quota(manifest)

    def _put_quota(self, manifest: Manifest) -> None:
        def put() -> None:
            found = api.QPUQuota.from_manifest(manifest)
            self.quotas.setdefault(namespace_of(manifest), {})[found.metadata.name] = found

        _take("qpuquotas", manifest, put)

    def _drop_quota(self, manifest: Manifest) -> None:
        self._forget_quota(namespace_of(manifest), name_of(manifest))

    def _forget_quota(self, namespace: str, name: str) -> None:
        found = self.quotas.get(namespace, {})
        found.pop(name, None)
        if not found:
            self.quotas.pop(namespace, None)


def _read_class(manifest: Manifest) -> api.QPUClass:
    found = api.QPUClass.from_manifest(manifest)
    api.placement_class(found)  # refuses what placement could not use
    return found


def _take(resource: str, manifest: Manifest, put: Callable[[], None]) -> bool:
    try:
        put()
    except ValueError as error:
        # What was known of it stays: the API server checks what it takes, so this is a newer
        # version's object.
        _LOG.warning(
            "Object not understood", resource=resource, name=name_of(manifest), reason=str(error)
        )
        return False
    return True
