"""Kueue's objects for tests."""

from datetime import UTC, datetime
from typing import Any

from kubeqpu.admission.checks.verdicts import Scene
from kubeqpu.admission.outlooks import Ground, Offer
from kubeqpu.common import api, qpu
from kubeqpu.common.classes import Classes
from kubeqpu.common.placement import SimulatorPolicy

Object = dict[str, Any]
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
QPU = "kubeqpu.io/qpu"
CPU = "kubeqpu.io/cpu-simulator"
KEY = "kubeqpu.io/admission-reason"
CONTROLLER = "kubeqpu.io/qpu"
THEN = "2026-11-23T11:00:00Z"
_TRUE = qpu.ConditionStatus.TRUE


def entry(name: str = "kubeqpu", state: str = "Pending", **other: Any) -> Object:
    return {"name": name, "state": state, "lastTransitionTime": THEN, "message": "", **other}


def pod_set(
    name: str = "main",
    resource: str = QPU,
    annotations: dict[str, str] | None = None,
    amount: str = "1",
) -> Object:
    resources = {"limits": {resource: amount}, "requests": {resource: amount}}
    spec = {"containers": [{"name": "c", "image": "i", "resources": resources}]}
    metadata = {"metadata": {"annotations": annotations}} if annotations else {}
    return {"name": name, "count": 1, "template": {**metadata, "spec": spec}}


def workload(
    *entries: Object,
    pod_sets: list[Object] | None = None,
    conditions: tuple[str, ...] = ("QuotaReserved",),
    name: str = "w",
    **metadata: Any,
) -> Object:
    told = [{"type": kind, "status": "True"} for kind in conditions]
    return {
        "apiVersion": "kueue.x-k8s.io/v1beta2", "kind": "Workload",
        "metadata": {"name": name, "namespace": "lab", "uid": f"uid-{name}",
                     "resourceVersion": "7", **metadata},
        "spec": {"active": True, "podSets": [pod_set()] if pod_sets is None else pod_sets},
        "status": {"conditions": told, "admissionChecks": list(entries or [entry()])},
    }  # fmt: skip


def check(name: str = "kubeqpu", class_name: str = "", **other: Any) -> Object:
    parameters = {"apiGroup": "kubeqpu.io", "kind": "QPUClass", "name": class_name}
    spec = {"controllerName": CONTROLLER} | ({"parameters": parameters} if class_name else {})
    return {
        "apiVersion": "kueue.x-k8s.io/v1beta2", "kind": "AdmissionCheck",
        "metadata": {"name": name, "uid": f"uid-{name}", "resourceVersion": "3", "generation": 2},
        "spec": {**spec, **other},
    }  # fmt: skip


def offer(name: str = "fez", qubits: int = 27, resource: str = QPU, ready: bool = True) -> Offer:
    conditions = {kind: qpu.Condition(kind, _TRUE) for kind in ("Ready", "Accepting")}
    return Offer(resource, qpu.QPU(name, "fake", False, qubits, conditions if ready else {}))


def qpu_class(
    name: str,
    min_qubits: int = 1,
    mode: api.AdmissionMode = api.AdmissionMode.CHECK,
    simulators: SimulatorPolicy = SimulatorPolicy.ALLOW,
    **selector: str,
) -> api.QPUClass:
    wanted = api.RequirementsSpec(
        min_qubits=min_qubits,
        simulators=simulators,
        selector=api.LabelSelector(match_labels=dict(selector)),
    )
    return api.QPUClass(
        metadata=api.ObjectMeta(name=name),
        spec=api.QPUClassSpec(requirements=wanted, admission=mode),
    )


def scene(*offers: Offer, classes: tuple[api.QPUClass, ...] = (), spent: str = "") -> Scene:
    grounds = (Ground("BudgetSpent", spent),) if spent else ()
    return Scene(Classes(classes), offers, grounds, NOW)
