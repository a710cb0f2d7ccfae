"""What several tests of the launcher do."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from tests.cluster.cluster import Cluster
from tests.cluster.shell import wait_until
from tests.cluster.spec import Addon, ClusterSpec

MakeCluster = Callable[[ClusterSpec], Cluster]
NODES = ClusterSpec("test-nodes", nodes=2, addons=(Addon.COREDNS,))


def bring_up(cluster: Cluster, spec: ClusterSpec) -> None:
    """Bring a cluster up with the small image that test pods run."""
    cluster.up(spec)
    cluster.load("busybox")
    wait_until(lambda: has_default_account(cluster), "the default ServiceAccount", seconds=30)


def has_default_account(cluster: Cluster) -> bool:
    """Whether pods can be made in the default namespace yet."""
    return bool(cluster.get("serviceaccounts", "--namespace=default")["items"])


def pod(cluster: Cluster, name: str, script: str, **spec: Any) -> dict[str, Any]:
    """A pod that runs a shell script."""
    image = cluster.images.busybox().reference
    container = {
        "name": "main", "image": image, "imagePullPolicy": "Never", "command": ["sh", "-c", script]
    }  # fmt: skip
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "labels": {"app": name}},
        "spec": {
            "containers": [container],
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 0,
            **spec,
        },
    }


def wait_for_phase(cluster: Cluster, name: str, phase: str, *, seconds: float = 60) -> None:
    """Wait until a pod is in a phase."""
    wait_until(lambda: status(cluster, name).get("phase") == phase, f"pod {name} {phase}",
               seconds=seconds, every=0.3)  # fmt: skip


def status(cluster: Cluster, name: str) -> dict[str, Any]:
    """A pod's status."""
    found: dict[str, Any] = cluster.get("pod", name, "--namespace=default")["status"]
    return found


def runs_pods(cluster: Cluster, node: str) -> None:
    """Assert that a node runs a new pod to its end."""
    name = f"probe-{node}-{time.monotonic_ns()}"
    cluster.apply(pod(cluster, name, "echo done", nodeName=node))
    wait_for_phase(cluster, name, "Succeeded")
    assert cluster.kubectl("logs", name, "--namespace=default").strip() == "done"
