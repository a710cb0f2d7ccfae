"""Which gate an object waits at, and how it is set.

Kueue reads its gate from the object that it admits: a Job, a JobSet or a pod that no Job of its own
made. What Kueue does not admit waits before the scheduler instead, which only pods can.
"""

from collections.abc import Mapping
from enum import StrEnum

from pydantic import JsonValue

from kubeqpu.admission import kueue
from kubeqpu.admission.webhooks.drafts import Draft
from kubeqpu.common import names
from kubeqpu.common.api import AdmissionMode
from kubeqpu.common.requests import JSONObject, object_at, objects_at, texts_at


class Gate(StrEnum):
    """Where something waits until a QPU fits."""

    NONE = ""
    KUEUE = "kueue"
    SCHEDULER = "scheduler"


def choose_for_pod(mode: AdmissionMode, labels: Mapping[str, str], bound: bool) -> Gate:
    """Chooses the gate of a pod that asks for slots.

    Args:
        mode: What its class says.
        labels: The pod's labels.
        bound: Whether it names its node already, so that no scheduler sees it.
    """
    if mode is not AdmissionMode.GATE or kueue.is_admitted(labels):
        return Gate.NONE
    if kueue.is_queued(labels):
        return Gate.KUEUE
    return Gate.NONE if bound else Gate.SCHEDULER


def choose_for_maker(modes: set[AdmissionMode], labels: Mapping[str, str]) -> Gate:
    """Chooses the gate of a Job or JobSet whose pods ask for slots.

    Args:
        modes: What their classes say.
        labels: The object's own labels.
    """
    gated = AdmissionMode.GATE in modes and kueue.is_queued(labels)
    return Gate.KUEUE if gated else Gate.NONE


def set_gate(draft: Draft, gate: Gate) -> None:
    """Sets a gate, in place of one that an earlier pass set.

    What has our gate has our label too, also where someone else set it, so that it is found.
    """
    if gate is Gate.KUEUE:
        _leave_scheduler(draft)
        _set_kueue(draft)
    elif gate is Gate.SCHEDULER and not _waits_for_scheduler(draft.manifest):
        draft.append(("spec", "schedulingGates"), {"name": names.GATE})
    if gate is not Gate.NONE or is_gated(draft.manifest):
        draft.put(("metadata", "labels", names.LABEL_GATED), "true")


def is_gated(manifest: JSONObject) -> bool:
    """Tells whether an object has our gate, of either kind."""
    return _waits_for_scheduler(manifest) or names.GATE in _kueue_gates(manifest)


def _kueue_gates(manifest: JSONObject) -> list[str]:
    annotations = texts_at(object_at(manifest, "metadata"), "annotations")
    return kueue.split_gates(annotations.get(kueue.ANNOTATION_GATED_BY, ""))


def _set_kueue(draft: Draft) -> None:
    gates = _kueue_gates(draft.manifest)
    if names.GATE not in gates:
        path = ("metadata", "annotations", kueue.ANNOTATION_GATED_BY)
        draft.put(path, kueue.join_gates([*gates, names.GATE]))


def _waits_for_scheduler(manifest: JSONObject) -> bool:
    gates = objects_at(object_at(manifest, "spec"), "schedulingGates")
    return any(gate.get("name") == names.GATE for _, gate in gates)


def _leave_scheduler(draft: Draft) -> None:
    if not _waits_for_scheduler(draft.manifest):
        return
    gates = objects_at(object_at(draft.manifest, "spec"), "schedulingGates")
    rest: list[JsonValue] = [gate for _, gate in gates if gate.get("name") != names.GATE]
    draft.put(("spec", "schedulingGates"), rest)
