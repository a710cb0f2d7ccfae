"""What quotas are made from: QPUs, nodes, flavors and what ClusterQueues name, as watched."""

import asyncio
from collections.abc import Callable, Collection

from kubeqpu.admission.pool.kueue import COHORT, Cohort, read_cohort, read_flavor, read_pairs
from kubeqpu.admission.pool.slots import Count, Flavor, Pair, QPUSlots, count_slots, read_qpu
from kubeqpu.common import api
from kubeqpu.common.requests import object_at, texts_at
from kubeqpu.kube.objects import ObjectsAPI
from kubeqpu.kube.resources import (
    CLUSTER_QUEUES,
    COHORTS,
    NODES,
    RESOURCE_FLAVORS,
    Manifest,
    Resource,
    is_newer,
    name_of,
)
from kubeqpu.kube.watches import ObjectWatch

# Kueue's objects may not change for hours; a bookmark comes every minute.
_SILENCE_SECONDS = 90.0


class Supply:
    """Follows the API server, and tells when something that counts has changed.

    Args:
        objects: The API server.

    Attributes:
        cohort: The Cohort of our name; None if there is none.
    """

    def __init__(self, objects: ObjectsAPI) -> None:
        self._objects = objects
        self._tell: Callable[[], None] = lambda: None
        self._qpus: dict[str, QPUSlots] | None = None
        self._pairs: dict[str, frozenset[Pair]] = {}
        self._flavors: dict[str, Flavor] = {}
        self._nodes: dict[str, dict[str, str]] = {}
        self._watches: tuple[ObjectWatch, ...] = ()
        self._named = asyncio.Event()
        self.cohort: Cohort | None = None

    def tell_by(self, tell: Callable[[], None]) -> None:
        """Has a function called after changes."""
        self._tell = tell

    async def run(self) -> None:
        """Watches until cancelled; to be run while Kueue is installed."""
        nodes = self._watch(NODES.reduced(), self._list_nodes, self._put_node, self._drop_node)
        others = (
            self._watch(CLUSTER_QUEUES, self._list_queues, self._put_queue, self._drop_queue),
            self._watch(RESOURCE_FLAVORS, self._list_flavors, self._put_flavor, self._drop_flavor),
            self._watch(COHORTS, self._list_cohorts, self.put_cohort, self._drop_cohort),
        )
        self._watches = (nodes, *others)
        try:
            async with asyncio.TaskGroup() as group:
                for watch in others:
                    group.create_task(watch.run())
                # Where no ClusterQueue asks for slots, nobody has to know where they are.
                await self._named.wait()
                group.create_task(nodes.run())
        finally:
            self._watches = ()

    def is_complete(self) -> bool:
        """Tells whether all there is was seen, so that nothing counts for gone that is not."""
        if self._qpus is None or not self._watches:
            return False
        nodes, *others = self._watches
        seen = all(watch.heard_at is not None for watch in others)
        return seen and (nodes.heard_at is not None or not self._named.is_set())

    def count(self) -> dict[Pair, Count]:
        """Counts the slots of all pairs that ClusterQueues name."""
        declared = frozenset[Pair]().union(*self._pairs.values())
        return count_slots((self._qpus or {}).values(), self._nodes, self._flavors, declared)

    def see_qpus(self, qpus: Collection[api.QPU]) -> None:
        """Takes in all QPUs."""
        self._qpus = {qpu.metadata.name: read_qpu(qpu) for qpu in qpus}
        self._tell()

    def see_qpu(self, qpu: api.QPU) -> None:
        """Takes in a QPU that is new or changed."""
        found = read_qpu(qpu)
        if self._qpus is not None and self._qpus.get(qpu.metadata.name) != found:
            self._qpus[qpu.metadata.name] = found
            self._tell()

    def forget_qpu(self, name: str) -> None:
        """Takes in that a QPU is gone."""
        if self._qpus is not None and self._qpus.pop(name, None) is not None:
            self._tell()

    def put_cohort(self, manifest: Manifest) -> None:
        """Takes in a Cohort, from the watch or from a write, whichever comes first."""
        if name_of(manifest) != COHORT:
            return
        found = read_cohort(manifest)
        known = self.cohort
        if known is not None and known.uid == found.uid and is_newer(known.version, found.version):
            return
        self.cohort = found
        if known is None or (known.uid, known.is_ours, known.groups) != (
            found.uid, found.is_ours, found.groups
        ):  # fmt: skip
            self._tell()

    def _watch(
        self,
        kind: Resource,
        take_all: Callable[[tuple[Manifest, ...]], None],
        put: Callable[[Manifest], None],
        drop: Callable[[Manifest], None],
    ) -> ObjectWatch:
        return ObjectWatch(
            self._objects, kind, take_all, put, drop, silence_seconds=_SILENCE_SECONDS
        )

    def _list_queues(self, manifests: tuple[Manifest, ...]) -> None:
        self._pairs = {}
        for manifest in manifests:
            self._put_queue(manifest)
        self._tell()

    def _put_queue(self, manifest: Manifest) -> None:
        found = read_pairs(manifest)
        if found:
            self._named.set()
        if self._pairs.get(name_of(manifest), frozenset()) != found:
            self._pairs[name_of(manifest)] = found
            self._tell()

    def _drop_queue(self, manifest: Manifest) -> None:
        if self._pairs.pop(name_of(manifest), None):
            self._tell()

    def _list_flavors(self, manifests: tuple[Manifest, ...]) -> None:
        self._flavors = {name_of(manifest): read_flavor(manifest) for manifest in manifests}
        self._tell()

    def _put_flavor(self, manifest: Manifest) -> None:
        found = read_flavor(manifest)
        if self._flavors.get(found.name) != found:
            self._flavors[found.name] = found
            self._tell()

    def _drop_flavor(self, manifest: Manifest) -> None:
        self._flavors.pop(name_of(manifest), None)
        self._tell()

    def _list_cohorts(self, manifests: tuple[Manifest, ...]) -> None:
        found = [manifest for manifest in manifests if name_of(manifest) == COHORT]
        self.cohort = read_cohort(found[0]) if found else None
        self._tell()

    def _drop_cohort(self, manifest: Manifest) -> None:
        known = self.cohort
        if known is not None and known.uid == read_cohort(manifest).uid:
            self.cohort = None
            self._tell()

    def _list_nodes(self, manifests: tuple[Manifest, ...]) -> None:
        self._nodes = {name_of(manifest): _read_labels(manifest) for manifest in manifests}
        self._tell()

    def _put_node(self, manifest: Manifest) -> None:
        found = _read_labels(manifest)
        if self._nodes.get(name_of(manifest)) != found:
            self._nodes[name_of(manifest)] = found
            self._tell()

    def _drop_node(self, manifest: Manifest) -> None:
        self._nodes.pop(name_of(manifest), None)
        self._tell()


def _read_labels(manifest: Manifest) -> dict[str, str]:
    return texts_at(object_at(manifest, "metadata"), "labels")
