"""What can be installed on a cluster; each is installed again and again without harm."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from tests.cluster.addons import argo, coredns, kueue, postgresql, prometheus
from tests.cluster.spec import Addon

if TYPE_CHECKING:
    from tests.cluster.cluster import Cluster

INSTALLERS: Mapping[Addon, Callable[[Cluster], None]] = {
    Addon.COREDNS: coredns.install,
    Addon.KUEUE: kueue.install,
    Addon.ARGO: argo.install,
    Addon.PROMETHEUS: prometheus.install,
    Addon.POSTGRESQL: postgresql.install,
}


def install(addon: Addon, cluster: Cluster) -> None:
    """Install an add-on, or finish installing it, and wait until it works."""
    INSTALLERS[addon](cluster)
