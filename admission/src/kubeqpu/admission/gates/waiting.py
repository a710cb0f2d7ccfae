"""What waits at our gate: what it waits for, and what is written on it; plain data throughout."""

from collections.abc import Callable
from dataclasses import dataclass

from pydantic import JsonValue

from kubeqpu.admission import kueue
from kubeqpu.admission.outlooks import Ground, Outlook
from kubeqpu.common import names
from kubeqpu.common.api import AdmissionMode
from kubeqpu.common.requests import (
    JSONObject,
    MalformedWishError,
    PodRequest,
    find_templates,
    object_at,
    objects_at,
    read_request,
    texts_at,
)
from kubeqpu.kube.resources import (
    JOB_SETS,
    JOBS,
    PODS,
    Manifest,
    Resource,
    Selection,
    name_of,
    namespace_of,
    uid_of,
    version_of,
)

MALFORMED = "MalformedRequest"
_LONGEST_TEXT = 1000
_ENDED_PHASES = ("Succeeded", "Failed")
# Of Jobs the first two, of JobSets the others.
_ENDED_CONDITIONS = ("Complete", "Failed", "Completed")

Look = Callable[[PodRequest, str], Outlook]
Key = tuple[str, str, str]


@dataclass(frozen=True)
class GatedKind:
    """A kind of objects that may wait at our gate.

    Attributes:
        name: Its name, such as `Pod`.
        place: Where its objects are.
    """

    name: str
    place: Resource

    @property
    def api_version(self) -> str:
        """The version in its objects' heads."""
        return "/".join(filter(None, (self.place.group, self.place.version)))


POD, JOB, JOB_SET = GatedKind("Pod", PODS), GatedKind("Job", JOBS), GatedKind("JobSet", JOB_SETS)
GATED_KINDS = (POD, JOB, JOB_SET)
PLACES = {kind.name: kind.place for kind in GATED_KINDS}
GATED = Selection(labels=f"{names.LABEL_GATED}=true")


@dataclass(frozen=True)
class Waiting:
    """A pod, Job or JobSet with our label, as it was last seen.

    Attributes:
        kind: `Pod`, `Job` or `JobSet`.
        api_version: Of that kind.
        namespace: Its namespace.
        name: Its name.
        uid: Its uid.
        version: Changes with every write.
        requests: What its pods ask for; those that ask for no slot are left out.
        fault: What of that makes no sense; empty if all does.
        kueue_gates: The gates that Kueue reads, of everyone.
        scheduling_gates: The gates that the scheduler reads, of everyone.
        said: What it is told that it waits for; empty if nothing.
        over: Whether it ended or is being deleted, so that it waits for nothing.
    """

    kind: str
    api_version: str
    namespace: str
    name: str
    uid: str = ""
    version: str = ""
    requests: tuple[PodRequest, ...] = ()
    fault: str = ""
    kueue_gates: tuple[str, ...] = ()
    scheduling_gates: tuple[JSONObject, ...] = ()
    said: str = ""
    over: bool = False

    @property
    def is_gated(self) -> bool:
        """Tells whether it has our gate; the label alone may be left where someone removed it."""
        scheduler = any(gate.get("name") == names.GATE for gate in self.scheduling_gates)
        return scheduler or names.GATE in self.kueue_gates

    @property
    def key(self) -> Key:
        """Its kind, namespace and name."""
        return self.kind, self.namespace, self.name

    @property
    def reference(self) -> str:
        """Namespace and name."""
        return f"{self.namespace}/{self.name}"


def read_waiting(kind: str, api_version: str, manifest: Manifest) -> Waiting:
    """Reads an object.

    Args:
        kind: Its kind, for the API server leaves that out of the items of lists.
        api_version: Of that kind.
        manifest: The object.
    """
    metadata = object_at(manifest, "metadata")
    annotations = texts_at(metadata, "annotations")
    requests, fault = _read_requests({**manifest, "kind": kind})
    gates = objects_at(object_at(manifest, "spec"), "schedulingGates")
    return Waiting(
        kind=kind,
        api_version=api_version,
        namespace=namespace_of(manifest),
        name=name_of(manifest),
        uid=uid_of(manifest),
        version=version_of(manifest),
        requests=requests,
        fault=fault,
        kueue_gates=tuple(kueue.split_gates(annotations.get(kueue.ANNOTATION_GATED_BY, ""))),
        scheduling_gates=tuple(gate for _, gate in gates),
        said=annotations.get(names.ANNOTATION_WAITING_FOR, ""),
        over=bool(metadata.get("deletionTimestamp")) or _is_ended(manifest),
    )


def find_grounds(found: Waiting, look: Look) -> tuple[Ground, ...]:
    """Finds why an object has to wait on, each ground once; none if it may go.

    What belongs to a class that does not gate (any more) is no ground to wait here.
    """
    if not found.is_gated:
        return ()
    if found.fault:
        return (Ground(MALFORMED, found.fault),)
    outlooks = [look(request, found.namespace) for request in found.requests]
    gating = [one for one in outlooks if one.mode is AdmissionMode.GATE]
    return tuple(dict.fromkeys(ground for outlook in gating for ground in outlook.grounds))


def describe(grounds: tuple[Ground, ...]) -> str:
    """Says why something waits: the reason as a word, then in sentences."""
    sentences = " ".join(ground.message for ground in grounds)
    text = f"{grounds[0].reason}: {sentences}"
    return text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]}…"


def read_word(text: str) -> str:
    """Gives the reason that a description begins with."""
    return text.partition(":")[0]


def lift_patch(found: Waiting) -> Manifest:
    """Writes what lets an object go: our gates, our label and what it was told go, no one else's.

    It is refused if the object changed since it was seen.
    """
    annotations: dict[str, JsonValue] = {names.ANNOTATION_WAITING_FOR: None}
    if names.GATE in found.kueue_gates:
        rest = [gate for gate in found.kueue_gates if gate != names.GATE]
        annotations[kueue.ANNOTATION_GATED_BY] = kueue.join_gates(rest) or None
    patch: Manifest = {
        "metadata": {
            "resourceVersion": found.version,
            "labels": {names.LABEL_GATED: None},
            "annotations": annotations,
        }
    }
    kept: list[JsonValue] = [
        gate for gate in found.scheduling_gates if gate.get("name") != names.GATE
    ]
    if len(kept) < len(found.scheduling_gates):
        patch["spec"] = {"schedulingGates": kept}
    return patch


def note_patch(found: Waiting, text: str) -> Manifest:
    """Writes what an object waits for; refused if it changed since it was seen."""
    annotations: dict[str, JsonValue] = {names.ANNOTATION_WAITING_FOR: text}
    return {"metadata": {"resourceVersion": found.version, "annotations": annotations}}


def _read_requests(manifest: Manifest) -> tuple[tuple[PodRequest, ...], str]:
    try:
        requests = [read_request(template) for template in find_templates(manifest)]
    except MalformedWishError as error:
        return (), str(error)
    return tuple(dict.fromkeys(one for one in requests if one.resources)), ""


def _is_ended(manifest: Manifest) -> bool:
    status = object_at(manifest, "status")
    if status.get("phase") in _ENDED_PHASES:
        return True
    return any(
        one.get("type") in _ENDED_CONDITIONS and one.get("status") == "True"
        for _, one in objects_at(status, "conditions")
    )
