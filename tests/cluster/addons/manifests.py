"""Applying manifests and waiting for what they make."""

from __future__ import annotations

from string import Template
from typing import TYPE_CHECKING

from tests.cluster.layout import HERE

if TYPE_CHECKING:
    from tests.cluster.cluster import Cluster

MANIFESTS = HERE / "manifests"


def read(name: str, **values: str) -> str:
    """A manifest of ours, its ${placeholders} filled in."""
    return Template((MANIFESTS / name).read_text()).substitute(values)


def apply(cluster: Cluster, text: str) -> None:
    """Apply a manifest, server-side: some are too long for client-side's annotation."""
    cluster.kubectl("apply", "--server-side", "--force-conflicts", "--filename=-", text=text)


def wait_for_crds(cluster: Cluster, text: str) -> None:
    """Apply a manifest of CustomResourceDefinitions and wait until they are served."""
    apply(cluster, text)
    cluster.kubectl("wait", "--for=condition=Established", "--timeout=60s", "crd", "--all")


def wait_for_deployment(cluster: Cluster, namespace: str, name: str, *, seconds: int = 180) -> None:
    """Wait until a Deployment's pods are all of its newest kind, and available."""
    cluster.kubectl(
        "rollout", "status", f"deployment/{name}", f"--namespace={namespace}",
        f"--timeout={seconds}s", seconds=seconds + 30,
    )  # fmt: skip
