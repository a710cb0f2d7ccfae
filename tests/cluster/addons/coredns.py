"""CoreDNS: names of services and pods. It resolves no name outside the cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.cluster.addons import manifests
from tests.cluster.network import Addresses

if TYPE_CHECKING:
    from tests.cluster.cluster import Cluster


def install(cluster: Cluster) -> None:
    """Install CoreDNS at the address that every pod is told."""
    addresses = Addresses(cluster.state.octet or 0)
    image = cluster.images.program("coredns")
    text = manifests.read("coredns.yaml", image=image.reference, address=addresses.dns)
    manifests.apply(cluster, text)
    manifests.wait_for_deployment(cluster, "kube-system", "coredns")
