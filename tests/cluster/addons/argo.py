"""Argo Workflows: the controller and its executor, no server and no user interface."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from tests.cluster import programs
from tests.cluster.addons import manifests
from tests.cluster.state import write

if TYPE_CHECKING:
    from tests.cluster.cluster import Cluster

NAMESPACE = "argo"
DEPLOYMENT = "workflow-controller"

# What a workflow's ServiceAccount needs, and no more; bound by whoever runs workflows.
EXECUTOR_ROLE = {
    "apiVersion": "rbac.authorization.k8s.io/v1",
    "kind": "ClusterRole",
    "metadata": {"name": "workflow-executor"},
    "rules": [
        {
            "apiGroups": ["argoproj.io"],
            "resources": ["workflowtaskresults"],
            "verbs": ["create", "patch"],
        }
    ],
}


def install(cluster: Cluster) -> None:
    """Install Argo's custom resources and its controller."""
    upstream = cluster.builder.folder(programs.ARGO) / "manifests"
    manifests.wait_for_crds(cluster, kustomize(cluster, upstream / "base/crds/minimal"))
    cluster.apply(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}, EXECUTOR_ROLE
    )
    folder = cluster.layout.data("argo")
    resources = [
        os.path.relpath(upstream / part, folder)
        for part in ("base/workflow-controller", "cluster-install-no-crds/workflow-controller-rbac")
    ]
    controller = cluster.images.program("workflow-controller").reference
    executor = cluster.images.program("argoexec").reference
    write(
        folder / "kustomization.yaml",
        json.dumps(kustomization(resources, controller, executor), indent=2),
    )
    manifests.apply(cluster, kustomize(cluster, folder))
    manifests.wait_for_deployment(cluster, NAMESPACE, DEPLOYMENT)


def kustomize(cluster: Cluster, folder: os.PathLike[str]) -> str:
    """Build a kustomization."""
    return cluster.kubectl("kustomize", "--load-restrictor=LoadRestrictionsNone", str(folder))


def kustomization(resources: list[str], controller: str, executor: str) -> dict[str, Any]:
    """Upstream's controller with our images, looking at its workflows every second."""
    container = "/spec/template/spec/containers/0"
    changes = [
        {"op": "replace", "path": f"{container}/image", "value": controller},
        {"op": "add", "path": f"{container}/imagePullPolicy", "value": "Never"},
        {
            "op": "replace",
            "path": f"{container}/args",
            "value": ["--executor-image", executor, "--executor-image-pull-policy", "Never"],
        },
        # A workflow waits this long between two looks at it; the default is 10 s.
        {
            "op": "add",
            "path": f"{container}/env/-",
            "value": {"name": "DEFAULT_REQUEUE_TIME", "value": "1s"},
        },
    ]
    target = {"kind": "Deployment", "name": DEPLOYMENT}
    return {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": NAMESPACE,
        "resources": resources,
        "patches": [{"target": target, "patch": json.dumps(changes)}],
    }
