"""Kueue, from its own chart. Rendered and applied rather than installed as a release: applying
again finishes what an interrupted call began, where a release would be left pending.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.cluster import programs
from tests.cluster.addons import manifests
from tests.cluster.errors import ClusterError
from tests.cluster.shell import run, wait_until

if TYPE_CHECKING:
    from tests.cluster.cluster import Cluster

NAMESPACE = "kueue-system"
DEPLOYMENT = "kueue-controller-manager"
FLAVOR = {
    "apiVersion": "kueue.x-k8s.io/v1beta2",
    "kind": "ResourceFlavor",
    "metadata": {"name": "is-kueue-ready"},
}


def install(cluster: Cluster) -> None:
    """Install Kueue, its webhooks answering."""
    repository, tag = cluster.images.program("kueue").reference.rsplit(":", 1)
    values = {
        "controllerManager.manager.image.repository": repository,
        "controllerManager.manager.image.tag": tag,
        "controllerManager.manager.image.pullPolicy": "Never",
        # A small machine runs everything: ask for little, and look often.
        "controllerManager.manager.resources.requests.cpu": "50m",
        "controllerManager.manager.resources.requests.memory": "128Mi",
        "controllerManager.readinessProbe.initialDelaySeconds": "1",
        "controllerManager.readinessProbe.periodSeconds": "1",
    }
    chart = cluster.builder.folder(programs.KUEUE) / "kueue"
    text = run(
        [cluster.layout.bin / "helm", "template", "kueue", chart, f"--namespace={NAMESPACE}",
         "--include-crds", "--kube-version", programs.KUBERNETES_VERSION,
         *(f"--set-string={name}={value}" if name.endswith("tag") else f"--set={name}={value}"
           for name, value in values.items())]
    )  # fmt: skip
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    manifests.apply(cluster, text)
    manifests.wait_for_deployment(cluster, NAMESPACE, DEPLOYMENT)
    wait_until(lambda: admits(cluster), "Kueue's webhooks to answer", seconds=90, every=0.5)


def admits(cluster: Cluster) -> bool:
    """Whether Kueue's webhooks let an object of its own through."""
    try:
        cluster.kubectl("apply", "--server-side", "--dry-run=server", "--filename=-",
                        text=json.dumps(FLAVOR))  # fmt: skip
    except ClusterError:
        return False
    return True
