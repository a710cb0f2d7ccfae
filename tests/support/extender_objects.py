"""Objects for tests of the scheduler extender, and what the scheduler sends."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from kubeqpu.common import api
from kubeqpu.common.names import RESOURCE_QPU

Object = dict[str, Any]

MADE_AT = "2026-11-23T12:00:00Z"


def qpu_object(
    name: str,
    nodes: Mapping[str, tuple[int, int]] | None = None,
    *,
    wait: float = 0.0,
    error: float = 4e-3,
    calibrated: datetime | None = None,
    ready: bool = True,
    qubits: int = 27,
    resource: str = RESOURCE_QPU,
) -> Object:
    """Makes a QPU.

    Args:
        name: Its name.
        nodes: Slots and held slots by node.
        wait: Estimated wait in seconds.
        error: Median error of two-qubit gates.
        calibrated: When it was calibrated; now by default.
        ready: Status of its condition Ready.
        qubits: Its width.
        resource: What offers its slots.
    """
    offered = {"n-1": (4, 0)} if nodes is None else nodes
    calibrated_at = calibrated or datetime.now(UTC)
    conditions = [
        {
            "type": kind,
            "status": "True" if ready or kind != "Ready" else "False",
            "reason": "Told",
            "message": "",
            "lastTransitionTime": MADE_AT,
        }
        for kind in ("Ready", "Accepting", "Calibrated")
    ]
    return {
        "apiVersion": api.API_VERSION,
        "kind": "QPU",
        "metadata": {"name": name},
        "spec": {
            "provider": "fake",
            "resourceName": resource,
            "simulator": resource != RESOURCE_QPU,
            "slots": max(1, sum(slots for slots, _ in offered.values())),
        },
        "status": {
            "conditions": conditions,
            "numQubits": qubits,
            "queue": {"estimatedWaitSeconds": wait},
            "calibration": {
                "id": "c1",
                "time": calibrated_at.isoformat(),
                "medianOneQubitError": 2e-4,
                "medianTwoQubitError": error,
                "medianReadoutError": 8e-3,
            },
            "nodes": [
                {"name": node, "slots": slots, "held": held}
                for node, (slots, held) in offered.items()
            ],
        },
    }


def class_object(name: str, default: bool = False, **requirements: Any) -> Object:
    """Makes a QPUClass; requirements as the object writes them."""
    annotations = {"kubeqpu.io/is-default-class": "true"} if default else {}
    metadata = {"name": name, "annotations": annotations, "creationTimestamp": MADE_AT}
    return {
        "apiVersion": api.API_VERSION,
        "kind": "QPUClass",
        "metadata": metadata,
        "spec": {"requirements": requirements},
    }


def pod_object(
    name: str = "bell",
    annotations: Mapping[str, str] | None = None,
    resources: Mapping[str, str] | None = None,
) -> Object:
    """Makes a pod, as the scheduler has it; by default it asks for one slot of a QPU."""
    limits = {RESOURCE_QPU: "1"} if resources is None else dict(resources)
    container = {
        "name": "main",
        "image": "busybox",
        "resources": {"limits": limits, "requests": limits},
        "terminationMessagePath": "/dev/termination-log",
        "imagePullPolicy": "Always",
    }
    return {
        "metadata": {
            "name": name,
            "namespace": "lab",
            "uid": f"uid-{name}",
            "creationTimestamp": MADE_AT,
            "annotations": dict(annotations or {}),
        },
        "spec": {
            "containers": [container],
            "schedulerName": "kubeqpu-scheduler",
            "tolerations": [{"key": "node.kubernetes.io/not-ready", "operator": "Exists"}],
            "priority": 0,
        },
        "status": {"phase": "Pending", "qosClass": "BestEffort"},
    }


def args(pod: Object, nodes: Sequence[str] | None) -> bytes:
    """Writes what kube-scheduler 1.36 sends to filter and prioritize with nodeCacheCapable."""
    content = {"Pod": pod, "Nodes": None, "NodeNames": None if nodes is None else list(nodes)}
    return json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"


def preempt_args(pod: Object, nodes: Sequence[str]) -> bytes:
    """Writes what it sends to preempt."""
    victims = {
        node: {"Pods": [{"UID": f"victim-on-{node}"}], "NumPDBViolations": 0} for node in nodes
    }
    content = {"Pod": pod, "NodeNameToVictims": None, "NodeNameToMetaVictims": victims}
    return json.dumps(content).encode() + b"\n"
