"""Faults that tests inflict on a running cluster, and how each is undone."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.cluster import cgroups, network, processes
from tests.cluster.cluster import Cluster
from tests.cluster.controlplane import API_SERVER, KUBE_PROXY, PROCESSES
from tests.cluster.errors import ClusterError
from tests.cluster.nodes import CONTAINERD, KUBELET, Node
from tests.cluster.shell import wait_until

BALLAST = "/var/ballast"
STOP_SECONDS = 20

# An API server that ends waits a minute for the watches of clients that never end them; all it
# knows is in etcd by then.
CONTROL_PLANE_STOP_SECONDS = 2


def kill(cluster: Cluster, process: str) -> None:
    """Kill one of the cluster's processes, by its recorded name, as ``status`` lists them.

    Raises:
        ClusterError: it does not run.
    """
    found = processes.find(cluster.layout, process)
    if found is None or not processes.send(found, signal.SIGKILL):
        raise ClusterError(f"{process} does not run in cluster {cluster.name}")
    processes.wait_gone(found, STOP_SECONDS)


def restart_control_plane(cluster: Cluster, process: str = API_SERVER) -> None:
    """Restart one process of the control plane, and wait until it is ready.

    Raises:
        ClusterError: there is no such process.
    """
    if process not in PROCESSES:
        raise ClusterError(f"{process!r} is not one of {', '.join(PROCESSES)}")
    processes.stop(cluster.layout, process, grace_seconds=CONTROL_PLANE_STOP_SECONDS)
    cluster.control_plane.start()


def restart_kubelet(node: Node) -> None:
    """Restart a node's kubelet; its pods run on meanwhile."""
    _restart(node, KUBELET)


def restart_containerd(node: Node) -> None:
    """Restart a node's containerd, and wait until it answers; its containers run on meanwhile."""
    _restart(node, CONTAINERD)


def restart_kube_proxy(node: Node) -> None:
    """Restart a node's kube-proxy."""
    _restart(node, KUBE_PROXY)


def stop_kubelet(node: Node) -> None:
    """Stop a node's kubelet; `start_kubelet` starts it again."""
    processes.stop(node.layout, node.process(KUBELET), grace_seconds=STOP_SECONDS)


def start_kubelet(node: Node) -> None:
    """Start a node's kubelet."""
    node.start(KUBELET)


def _restart(node: Node, program: str) -> None:
    processes.stop(node.layout, node.process(program), grace_seconds=STOP_SECONDS)
    node.start(program)


def crash(node: Node) -> None:
    """End all of a node at once, as when its power fails; `Cluster.start_node` starts it again."""
    node.stop()


def freeze(node: Node) -> None:
    """Stop (SIGSTOP) everything that runs on a node, its containers included."""
    cgroups.signal_all(node.cgroup, signal.SIGSTOP)


def thaw(node: Node) -> None:
    """Let a frozen node go on."""
    cgroups.signal_all(node.cgroup, signal.SIGCONT)


@contextmanager
def frozen(node: Node) -> Iterator[None]:
    """A node that is frozen for a while."""
    freeze(node)
    try:
        yield
    finally:
        thaw(node)


def cut_network(node: Node) -> None:
    """Pull a node's cable: nothing reaches it or leaves it, and its pods run on."""
    network.cut(node.addresses, node.index)


def mend_network(node: Node) -> None:
    """Put a node's cable back."""
    network.mend(node.addresses, node.index)


@contextmanager
def network_cut(node: Node) -> Iterator[None]:
    """A node that is without network for a while."""
    cut_network(node)
    try:
        yield
    finally:
        mend_network(node)


def fill_disk(node: Node, *, leave_bytes: int = 0) -> None:
    """Fill a node's disk up, which holds its images, its logs and its pods' volumes.

    Below 200 MiB free the kubelet reports DiskPressure and begins to evict.

    Args:
        node: the node.
        leave_bytes: how much to leave free.
    """
    free = free_bytes(node)
    with node.inside(BALLAST).open("ab") as ballast:
        size = free - leave_bytes
        if size > 0:
            # Allocated, not written: full at once, and the host's disk hardly notices.
            os.posix_fallocate(ballast.fileno(), ballast.tell(), size)


def empty_disk(node: Node) -> None:
    """Give back what `fill_disk` took."""
    node.inside(BALLAST).unlink(missing_ok=True)


@contextmanager
def disk_full(node: Node, *, leave_bytes: int = 0) -> Iterator[None]:
    """A node whose disk is full for a while."""
    fill_disk(node, leave_bytes=leave_bytes)
    try:
        yield
    finally:
        empty_disk(node)


def free_bytes(node: Node) -> int:
    """How much space a node's disk has left."""
    figures = os.statvfs(Path(node.inside("/var")))
    return figures.f_bavail * figures.f_frsize


def wait_for_readiness(cluster: Cluster, node: Node, *, ready: bool, seconds: float = 90) -> None:
    """Wait until the control plane takes a node for ready, or no longer does.

    Raises:
        ClusterError: it did not come to that in time.
    """
    wait_until(
        lambda: (node.name in cluster.ready_nodes()) is ready,
        f"{node.name} to be {'Ready' if ready else 'NotReady'}", seconds=seconds, every=0.5,
    )  # fmt: skip
