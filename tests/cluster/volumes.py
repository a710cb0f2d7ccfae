"""Volumes: directories on the nodes' disks, offered to claims that name no storage class."""

from __future__ import annotations

import uuid
from typing import Any

from tests.cluster.cluster import Cluster

STORAGE_CLASS = "standard"
DIRECTORY = "/var/lib/kubeqpu-volumes"


def offer(cluster: Cluster, *, gibibytes: int = 8) -> None:
    """Offer a new, empty volume on every node.

    A claim is bound to the one on the node that its pod is scheduled to. A volume that was used is
    not offered again.
    """
    cluster.apply(_storage_class())
    for node in cluster.nodes:
        name = f"{node.name}-{uuid.uuid4().hex[:8]}"
        path = f"{DIRECTORY}/{name}"
        node.inside(path).mkdir(parents=True)
        cluster.apply(_volume(name, node.name, path, gibibytes))


def _storage_class() -> dict[str, Any]:
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {
            "name": STORAGE_CLASS,
            "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
        },
        "provisioner": "kubernetes.io/no-provisioner",
        "volumeBindingMode": "WaitForFirstConsumer",
    }


def _volume(name: str, node: str, path: str, gibibytes: int) -> dict[str, Any]:
    here = {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "capacity": {"storage": f"{gibibytes}Gi"},
            "storageClassName": STORAGE_CLASS,
            "persistentVolumeReclaimPolicy": "Retain",
            "local": {"path": path},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [here]}]}},
        },
    }
