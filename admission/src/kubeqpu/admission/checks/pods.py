"""What pods say of themselves that their Workloads do not."""

from collections.abc import Callable, Mapping

from kubeqpu.admission.checks.workloads import Key, Owner, Workload, keep_notes
from kubeqpu.common import names
from kubeqpu.common.requests import object_at, texts_at
from kubeqpu.kube.objects import ObjectsAPI
from kubeqpu.kube.resources import PODS, Manifest, Selection, uid_of
from kubeqpu.kube.watches import ObjectWatch

_MANAGED = Selection(labels=f"{names.LABEL_MANAGED}=true")
# A connection that died silently is noticed after this; a bookmark comes every minute.
SILENCE_SECONDS = 90.0


class PodNotes:
    """Keeps the annotations of all pods that the webhooks saw to.

    Of a Job's pods Kueue copies the whole template; only a Workload that stands for pods needs
    this.

    Args:
        objects: The API server.
        on_change: Called when more may be known; it may not wait.
    """

    def __init__(self, objects: ObjectsAPI, on_change: Callable[[], None]) -> None:
        self._objects = objects
        self._on_change = on_change
        self._notes: dict[str, Mapping[str, str]] = {}
        self._others: dict[str, tuple[Key, Mapping[str, str]]] = {}
        self._watch = ObjectWatch(
            objects,
            PODS.reduced(),
            self._take_all,
            self._take,
            self._drop,
            _MANAGED,
            SILENCE_SECONDS,
        )

    async def run(self) -> None:
        """Follows the pods until cancelled."""
        await self._watch.run()

    def is_complete(self) -> bool:
        """Tells whether all of them were seen."""
        return self._watch.heard_at is not None

    def find(self, owner: Owner) -> Mapping[str, str] | None:
        """Finds a pod's annotations, as far as they matter; None of a pod that was not seen."""
        if owner.uid in self._others:
            return self._others[owner.uid][1]
        return self._notes.get(owner.uid)

    async def read(self, workload: Workload, owner: Owner) -> bool:
        """Reads a pod that the webhooks did not see to; tells whether it exists.

        Raises:
            APIServerError: If the API server was not reached or refused.
        """
        found = await self._objects.read(PODS.within(workload.namespace), owner.name)
        if found is None or uid_of(found) != owner.uid:
            return False
        self._others[owner.uid] = (workload.key, _read(found))
        return True

    def forget(self, key: Key) -> None:
        """Forgets the pods that were read for a Workload."""
        if self._others:
            self._others = {uid: one for uid, one in self._others.items() if one[0] != key}

    def _take_all(self, pods: tuple[Manifest, ...]) -> None:
        self._notes = {uid_of(pod): _read(pod) for pod in pods}
        self._on_change()

    def _take(self, pod: Manifest) -> None:
        self._notes[uid_of(pod)] = _read(pod)

    def _drop(self, pod: Manifest) -> None:
        self._notes.pop(uid_of(pod), None)


def _read(pod: Manifest) -> Mapping[str, str]:
    return keep_notes(texts_at(object_at(pod, "metadata"), "annotations"))
