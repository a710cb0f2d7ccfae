"""The objects of the admission benchmark: queues that differ in the check alone, Jobs, a QPU."""

from __future__ import annotations

from datetime import UTC, datetime

from pydantic import JsonValue

from kubeqpu.common import api, names
from kubeqpu.kube.resources import Manifest
from tests.benchmarks import null_check

NAMESPACE, LEASE, QPU = "bench", "controller", "fez"
CHECKED, NULL, PLAIN = "checked", "null", "plain"
_CHECK = "kubeqpu"
# The check of each queue.
CHECKS = {CHECKED: _CHECK, NULL: null_check.CHECK, PLAIN: ""}
_KUEUE = "kueue.x-k8s.io/v1beta2"
_AMPLE = "100000"


def _make(kind: str, name: str, spec: Manifest, namespace: str = "") -> Manifest:
    metadata: Manifest = {"name": name, **({"namespace": namespace} if namespace else {})}
    return {"apiVersion": _KUEUE, "kind": kind, "metadata": metadata, "spec": spec}


def _make_queue(name: str, check: str) -> Manifest:
    resource: Manifest = {"name": names.RESOURCE_QPU, "nominalQuota": _AMPLE}
    spec: Manifest = {
        "namespaceSelector": {},
        "resourceGroups": [
            {
                "coveredResources": [names.RESOURCE_QPU],
                "flavors": [{"name": "qpu", "resources": [resource]}],
            }
        ],
    }
    if check:
        spec["admissionChecksStrategy"] = {"admissionChecks": [{"name": check}]}
    return _make("ClusterQueue", name, spec)


def make_job(name: str, queue: str, gated: bool) -> Manifest:
    """Makes a Job that wants one slot, as our webhooks leave it."""
    limits: Manifest = {names.RESOURCE_QPU: "1"}
    container: Manifest = {"name": "main", "image": "example", "resources": {"limits": limits}}
    labels: Manifest = {"kueue.x-k8s.io/queue-name": queue}
    metadata: Manifest = {"name": name, "namespace": NAMESPACE, "labels": labels}
    if gated:
        labels[names.LABEL_GATED] = "true"
        metadata["annotations"] = {"kueue.x-k8s.io/admission-gated-by": names.GATE}
    template: Manifest = {"spec": {"restartPolicy": "Never", "containers": [container]}}
    spec: Manifest = {"suspend": True, "template": template}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec}


def make_status(ready: bool) -> Manifest:
    """Makes the status of the QPU."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    said: Manifest = {
        "status": "True" if ready else "False", "reason": "Said", "message": "",
        "lastTransitionTime": now,
    }  # fmt: skip
    conditions: list[JsonValue] = [{"type": kind, **said} for kind in ("Ready", "Accepting")]
    status: Manifest = {"numQubits": 20, "conditions": conditions}
    head: Manifest = {"apiVersion": api.API_VERSION, "kind": "QPU", "metadata": {"name": QPU}}
    return {**head, "status": status}


def make_surroundings() -> list[Manifest]:
    """Makes the queues, their checks, the QPU, and what a controller of ours needs."""
    metadata: Manifest = {"name": LEASE, "namespace": NAMESPACE}
    spec: Manifest = {"provider": "fake", "resourceName": names.RESOURCE_QPU, "slots": 1000}
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
        {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata},
        {"apiVersion": api.API_VERSION, "kind": "QPU", "metadata": {"name": QPU}, "spec": spec},
        _make("ResourceFlavor", "qpu", {}),
        _make("AdmissionCheck", _CHECK, {"controllerName": names.GATE}),
        _make("AdmissionCheck", null_check.CHECK, {"controllerName": null_check.CONTROLLER}),
        *(_make_queue(name, check) for name, check in CHECKS.items()),
        *(_make("LocalQueue", name, {"clusterQueue": name}, NAMESPACE) for name in CHECKS),
    ]
