"""Kueue's Workloads as plain data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from pydantic import JsonValue

from kubeqpu.common import names
from kubeqpu.common.requests import JSONObject, PodTemplate, object_at, objects_at, texts_at
from kubeqpu.kube.resources import Manifest, name_of, namespace_of, uid_of, version_of

# Kueue names the pod sets of a group of pods by it.
ANNOTATION_ROLE_HASH = "kueue.x-k8s.io/role-hash"
# What a pod says of itself that its Workload does not: Kueue copies the spec alone.
_PODS_OWN = (
    names.ANNOTATION_CLASS,
    names.ANNOTATION_MIN_QUBITS,
    names.ANNOTATION_CIRCUIT_SHAPE,
    names.ANNOTATION_ADMISSION_REASON,
)

Key = tuple[str, str]


class State(StrEnum):
    """What an admission check says of a Workload."""

    PENDING = "Pending"
    READY = "Ready"
    RETRY = "Retry"
    REJECTED = "Rejected"


@dataclass(frozen=True)
class Entry:
    """What one admission check says of a Workload.

    Attributes:
        name: The AdmissionCheck.
        state: The verdict; a word that we do not know where a newer Kueue has more.
        content: The whole entry.
    """

    name: str
    state: str
    content: JSONObject

    @property
    def retries(self) -> int:
        """How often Kueue has taken a Retry of it; Kueue counts."""
        found = self.content.get("retryCount")
        return found if isinstance(found, int) else 0

    def annotates(self, pod_set: str, key: str) -> bool:
        """Tells whether it gives the pods of a set an annotation."""
        return any(
            update.get("name") == pod_set and key in object_at(update, "annotations")
            for _, update in objects_at(self.content, "podSetUpdates")
        )


@dataclass(frozen=True)
class PodSet:
    """Pods of one kind in a Workload.

    Attributes:
        name: Its name.
        templates: What its pods are made from: one, or one for each pod that differs.
    """

    name: str
    templates: tuple[PodTemplate, ...]


@dataclass(frozen=True)
class Owner:
    """A pod that a Workload stands for."""

    name: str
    uid: str


@dataclass(frozen=True)
class Workload:
    """A Workload, as far as a check needs it.

    Attributes:
        namespace: Its namespace.
        name: Its name.
        uid: Its uid.
        version: Its resource version.
        entries: What its admission checks say.
        pod_sets: Its pods.
        owners: The pods that it stands for; none where a Job or the like makes them.
        requeues: How often Kueue has put it back for want of ready pods.
    """

    namespace: str
    name: str
    uid: str
    version: str
    entries: tuple[Entry, ...]
    pod_sets: tuple[PodSet, ...]
    owners: tuple[Owner, ...] = ()
    requeues: int = 0

    @property
    def key(self) -> Key:
        """Its namespace and name."""
        return self.namespace, self.name


def is_open(manifest: Manifest) -> bool:
    """Tells whether a Workload waits for its checks: its quota is reserved, and nothing else is.

    Before, Kueue may undo what is written; while it is evicted, a verdict strands it; once it is
    admitted, another verdict would stop pods that run.
    """
    status = object_at(manifest, "status")
    true = {
        condition.get("type")
        for _, condition in objects_at(status, "conditions")
        if condition.get("status") == "True"
    }
    return (
        "QuotaReserved" in true
        and not true & {"Admitted", "Evicted", "Finished", "DeactivationTarget"}
        and object_at(manifest, "spec").get("active") is not False
        and object_at(manifest, "metadata").get("deletionTimestamp") is None
        and bool(objects_at(status, "admissionChecks"))
    )


def read_workload(manifest: Manifest) -> Workload:
    """Reads a Workload; a part of another form than Kueue has it counts as absent."""
    spec, status = object_at(manifest, "spec"), object_at(manifest, "status")
    count = object_at(status, "requeueState").get("count")
    return Workload(
        namespace=namespace_of(manifest),
        name=name_of(manifest),
        uid=uid_of(manifest),
        version=version_of(manifest),
        entries=tuple(_read_entry(entry) for _, entry in objects_at(status, "admissionChecks")),
        pod_sets=tuple(_read_pod_set(found) for _, found in objects_at(spec, "podSets")),
        owners=tuple(
            Owner(_text(owner, "name"), _text(owner, "uid"))
            for _, owner in objects_at(object_at(manifest, "metadata"), "ownerReferences")
            if (owner.get("apiVersion"), owner.get("kind")) == ("v1", "Pod")
        ),
        requeues=count if isinstance(count, int) else 0,
    )


def dress(workload: Workload, pods: Sequence[Mapping[str, str]]) -> Workload:
    """Gives a Workload's templates the annotations that its pods have.

    Args:
        workload: A Workload that stands for pods.
        pods: The annotations of each.
    """
    return replace(
        workload,
        pod_sets=tuple(_dress_pod_set(pod_set, pods) for pod_set in workload.pod_sets),
    )


def keep_notes(annotations: Mapping[str, str]) -> dict[str, str]:
    """Keeps of a pod's annotations what `dress` needs."""
    kept = (*_PODS_OWN, ANNOTATION_ROLE_HASH)
    return {key: annotations[key] for key in kept if key in annotations}


def _dress_pod_set(pod_set: PodSet, pods: Sequence[Mapping[str, str]]) -> PodSet:
    theirs = [pod for pod in pods if pod.get(ANNOTATION_ROLE_HASH) == pod_set.name] or pods
    wishes = {tuple(sorted((key, pod[key]) for key in _PODS_OWN if key in pod)) for pod in theirs}
    return replace(
        pod_set,
        templates=tuple(
            replace(template, annotations={**template.annotations, **dict(wish)})
            for template in pod_set.templates
            for wish in sorted(wishes)
        ),
    )


def _read_entry(entry: JSONObject) -> Entry:
    return Entry(_text(entry, "name"), _text(entry, "state"), entry)


def _read_pod_set(found: JSONObject) -> PodSet:
    name = _text(found, "name")
    template = object_at(found, "template")
    metadata = object_at(template, "metadata")
    plain = PodTemplate(
        path=f"podSets[{name}].template",
        labels=texts_at(metadata, "labels"),
        annotations=texts_at(metadata, "annotations"),
        spec=object_at(template, "spec"),
    )
    return PodSet(name, (plain,))


def _text(parent: JSONObject, key: str) -> str:
    found: JsonValue = parent.get(key)
    return found if isinstance(found, str) else ""
