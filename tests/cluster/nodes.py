"""Nodes: each a network namespace and a mount namespace with a disk, containerd, a kubelet and
a kube-proxy of its own. Inside, everything lies where it does on any other node.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tests.cluster import cgroups, network, nodeconfig, processes
from tests.cluster.cgroups import Cgroup
from tests.cluster.controlplane import KUBE_PROXY, ControlPlane, answers, death_of
from tests.cluster.errors import ClusterError
from tests.cluster.images import Image
from tests.cluster.layout import Layout, cache_folder
from tests.cluster.network import Addresses
from tests.cluster.pki import Authority, Identity
from tests.cluster.shell import run, wait_until
from tests.cluster.state import ClusterState, write

DISK_BYTES = 20 * 1024**3  # sparse: it takes what is written to it
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
HOLDER, CONTAINERD, KUBELET = "holder", "containerd", "kubelet"
PROGRAMS = (CONTAINERD, KUBELET, KUBE_PROXY)

# Makes the node's file system and then keeps its mount namespace open. /var is the node's disk
# and /run its own memory; what the node's programs read of the host's below these two (the
# arguments after the disk) is bound to its place first.
HOLD = r"""
set -e
disk=$1; place=$2; shift 2
cover() {
    for kept in "$@"; do
        case $kept in
            "$top"/*)
                mkdir -p "$place${kept#"$top"}"
                mount -n --rbind "$kept" "$place${kept#"$top"}";;
        esac
    done
    mount -n --move "$place" "$top"
}
mount -n -o loop,noatime "$disk" "$place"
mkdir -p "$place"/lib/kubelet "$place"/lib/containerd "$place"/lib/cni/net.d "$place"/log/pods
top=/var; cover "$@"
mount -n -t tmpfs -o mode=755 tmpfs "$place"
mkdir -p "$place"/netns "$place"/containerd "$place"/lock
top=/run; cover "$@"
mount -n --make-rshared /
touch /run/node-is-ready
exec sleep infinity
"""


@dataclass(frozen=True)
class Node:
    """One node of a cluster."""

    layout: Layout
    state: ClusterState
    index: int

    @property
    def name(self) -> str:
        """The Node object's name."""
        return f"node-{self.index}"

    @property
    def addresses(self) -> Addresses:
        """The cluster's addresses."""
        assert self.state.octet is not None
        return Addresses(self.state.octet)

    @property
    def cgroup(self) -> Cgroup:
        """Everything that runs on the node is in here."""
        return cgroups.of_cluster(self.addresses.octet).child(self.name)

    @property
    def folder(self) -> Path:
        """The node's disk and configuration."""
        return self.layout.node(self.name)

    def process(self, program: str) -> str:
        """The name that a program of this node is recorded and logged under."""
        return f"{self.name}-{program}"

    @cached_property
    def control_plane(self) -> ControlPlane:
        """The control plane it belongs to."""
        return ControlPlane(self.layout, self.state)

    def prepare(self, pause: Image) -> None:
        """Make the disk, the network and the configuration, and open the namespaces."""
        if not processes.find(self.layout, self.process(HOLDER)):
            self.stop()  # what is left runs in namespaces that nobody can enter any more
        make_disk(self.folder / "disk")
        network.connect_node(self.addresses, self.index)
        cgroups.make(self.cgroup.child("system"))
        self._write_configuration(pause)
        self._hold()

    def _hold(self) -> None:
        place = self.folder / "mount"
        place.mkdir(exist_ok=True)
        command = [
            "nsenter", f"--net={network.NAMESPACES / self.addresses.namespace(self.index)}",
            "unshare", "--mount", "--propagation", "private",
            "sh", "-c", HOLD, "sh", str(self.folder / "disk"), str(place),
            str(self.layout.root), str(cache_folder()),
        ]  # fmt: skip
        self._start(HOLDER, command)
        wait_until(
            lambda: self.inside("/run/node-is-ready").exists(), f"{self.name}'s file system",
            seconds=30, every=0.02, still_alive=death_of(self.layout, self.process(HOLDER)),
        )  # fmt: skip
        cni = Path(nodeconfig.CNI_CONFIGURATION) / "10-kubeqpu.conflist"
        self.inside(str(cni)).write_text(nodeconfig.cni_json(self._config("")))

    def inside(self, path: str) -> Path:
        """The place on the host where a path of the node can be reached.

        Raises:
            ClusterError: the node is not up.
        """
        return Path(f"/proc/{self._holder().pid}/root") / path.lstrip("/")

    def _holder(self) -> processes.Process:
        holder = processes.find(self.layout, self.process(HOLDER))
        if holder is None:
            raise ClusterError(f"{self.name} of cluster {self.layout.name} is not up: run 'up'")
        return holder

    def enter(self, *command: str | Path) -> list[str]:
        """A command as it has to be called to run on the node."""
        target = f"--target={self._holder().pid}"
        return ["nsenter", target, "--mount", "--net", *(str(word) for word in command)]

    def _config(self, pause_image: str) -> nodeconfig.NodeConfig:
        return nodeconfig.NodeConfig(
            self.name, self.index, self.addresses, self.cgroup.path, self.layout.pki, pause_image
        )

    def _write_configuration(self, pause: Image) -> None:
        config = self._config(pause.reference)
        authority, url = Authority(self.layout), self.control_plane.url
        address = self.addresses.node(self.index)
        kubelet = Identity(f"system:node:{self.name}", ("system:nodes",), (self.name, address))
        authority.kubeconfig(self.folder / "kubelet.kubeconfig", url, self.name, kubelet)
        proxy_kubeconfig = self.layout.kubeconfig_of(KUBE_PROXY)
        write(self.folder / "containerd.toml", nodeconfig.containerd_toml(config))
        write(self.folder / "kubelet.json", nodeconfig.kubelet_json(config))
        write(self.folder / "kube-proxy.json",
              nodeconfig.kube_proxy_json(config, proxy_kubeconfig))  # fmt: skip

    def command(self, program: str) -> list[str]:
        """The command that runs one of the node's programs."""
        folder = self.folder
        if program == CONTAINERD:
            return [CONTAINERD, f"--config={folder}/containerd.toml"]
        if program == KUBE_PROXY:
            return [self.control_plane.program(KUBE_PROXY), f"--config={folder}/kube-proxy.json"]
        return [
            self.control_plane.program(KUBELET), f"--config={folder}/kubelet.json",
            f"--kubeconfig={folder}/kubelet.kubeconfig", f"--hostname-override={self.name}",
            f"--node-ip={self.addresses.node(self.index)}", "--root-dir=/var/lib/kubelet",
            "--v=2",
        ]  # fmt: skip

    def start(self, program: str) -> None:
        """Start one of the node's programs if it does not run, and wait until it answers."""
        self._start(program, self.enter(*self.command(program)))
        healthy = {CONTAINERD: self._containerd_answers, KUBE_PROXY: self._proxy_is_healthy,
                   KUBELET: self._kubelet_is_healthy}[program]  # fmt: skip
        wait_until(healthy, f"{self.name}'s {program}", seconds=60,
                   still_alive=death_of(self.layout, self.process(program)))  # fmt: skip

    def _start(self, program: str, command: list[str]) -> None:
        processes.start(
            self.layout, self.process(program), command,
            cgroups=[self.cgroup.child("system").tracking],
            environment={"PATH": PATH, "HOME": "/root"},
        )  # fmt: skip

    def _containerd_answers(self) -> bool:
        try:
            self.ctr("version", seconds=5)
        except ClusterError:
            return False
        return True

    def _kubelet_is_healthy(self) -> bool:
        return answers(f"https://{self.addresses.node(self.index)}:10250/healthz", self.layout)

    def _proxy_is_healthy(self) -> bool:
        return answers(f"http://{self.addresses.node(self.index)}:10256/healthz", self.layout)

    def ctr(self, *arguments: str | Path, seconds: float = 600) -> str:
        """Run ctr on the node, in the namespace that the kubelet's containers are in."""
        return run(self._ctr_command(*arguments), seconds=seconds)

    def _ctr_command(self, *arguments: str | Path) -> list[str]:
        # In the cgroup of the node, so that it ends with it even if nobody waits for it any more:
        # waiting for a containerd that is gone, it would keep the disk in use.
        join = 'echo 0 >"$0" && exec "$@"'
        members = self.cgroup.child("system").tracking / "cgroup.procs"
        address = f"--address={nodeconfig.CONTAINERD_SOCKET}"
        command = self.enter("ctr", address, "--namespace=k8s.io", *arguments)
        return ["sh", "-c", join, str(members), *command]

    def load(self, image: Image) -> bool:
        """Load an image unless the node is sure to have it; whether it had to."""
        if image.named_by_content and image.reference in self.ctr("images", "list", "-q").split():
            return False
        command = self._ctr_command("images", "import", "-")
        # Handed over open: the archive may lie where the node has its own /var or /run.
        with image.archive.open("rb") as archive:
            run(command, stdin=archive)
        return True

    def stop(self) -> None:
        """End everything that runs on the node: nothing of it can be ended piece by piece."""
        for program in (KUBELET, KUBE_PROXY, CONTAINERD, HOLDER):
            if process := processes.find(self.layout, self.process(program)):
                processes.send(process, signal.SIGKILL)
        cgroups.remove(self.cgroup)


def make_disk(path: Path) -> None:
    """Make an empty disk with a file system, unless it is there."""
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".draft")
    with draft.open("wb") as disk:
        disk.truncate(DISK_BYTES)
    # No journal: nobody reads this disk after a crash of the machine.
    run(["mkfs.ext4", "-q", "-F", "-O", "^has_journal", "-E", "lazy_itable_init=1,nodiscard",
         draft])  # fmt: skip
    draft.replace(path)
