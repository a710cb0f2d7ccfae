"""A cluster as a whole: what it is, and how it comes up, goes down, and is used by tests."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.cluster import cgroups, images, network, nodes, processes, programs, state
from tests.cluster.addons import install
from tests.cluster.builder import Builder
from tests.cluster.controlplane import KUBE_PROXY, ControlPlane, death_of
from tests.cluster.errors import ClusterError
from tests.cluster.images import Image, Images
from tests.cluster.layout import Layout
from tests.cluster.network import Addresses
from tests.cluster.nodes import Node
from tests.cluster.progress import Progress
from tests.cluster.requirements import require
from tests.cluster.shell import run, wait_until
from tests.cluster.spec import DEFAULT_NAME, ClusterSpec, merge
from tests.cluster.state import ClusterState
from tests.cluster.teardown import tear_down


class Cluster:
    """One cluster, up or not.

    `up` is convergent: it starts what does not run and makes what is not there, whatever ended
    the last one. All other methods need a cluster that is up.
    """

    def __init__(self, name: str = DEFAULT_NAME, progress: Progress | None = None) -> None:
        self.layout = Layout(name)
        self.progress = progress or Progress()
        self.builder = Builder(self.progress.report)
        self.images = Images(self.builder, self.progress.report)

    @property
    def name(self) -> str:
        """The cluster's name."""
        return self.layout.name

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return self.layout.kubeconfig

    @property
    def state(self) -> ClusterState:
        """What was chosen for it.

        Raises:
            ClusterError: there is no such cluster.
        """
        found = state.load(self.layout)
        if found is None:
            raise ClusterError(f"there is no cluster {self.name!r}: run 'up' first")
        return found

    @property
    def control_plane(self) -> ControlPlane:
        """The control plane."""
        return ControlPlane(self.layout, self.state)

    @property
    def nodes(self) -> list[Node]:
        """The nodes."""
        chosen = self.state
        return [Node(self.layout, chosen, index + 1) for index in range(chosen.spec.nodes)]

    def node(self, name: str) -> Node:
        """A node by its name.

        Raises:
            ClusterError: there is no such node.
        """
        for node in self.nodes:
            if node.name == name:
                return node
        raise ClusterError(f"cluster {self.name} has no node {name!r}")

    def up(self, spec: ClusterSpec) -> None:
        """Bring the cluster up as specified, or finish what an earlier call began.

        Raises:
            ClusterError: it could not, and why.
        """
        with state.locked(self.layout):
            chosen = self._survivor() or ClusterState(spec, boot=state.boot())
            chosen = replace(chosen, spec=merge(chosen.spec, spec))
            require(chosen.spec)
            self.builder.build(programs.needed(chosen.spec))
            loaded = self._build_images(chosen.spec)
            chosen = self._claim(chosen)
            self._link_programs(chosen.spec)
            with self.progress.step("starting the control plane"):
                ControlPlane(self.layout, chosen).start()
            if chosen.spec.nodes:
                with self.progress.step(f"starting {chosen.spec.nodes} nodes"):
                    self._start_nodes(chosen, loaded)
            for addon in chosen.spec.addons:
                with self.progress.step(f"installing {addon}"):
                    install(addon, self)
        self.progress.report(f"cluster {self.name} is up: export KUBECONFIG={self.kubeconfig}")

    def _survivor(self) -> ClusterState | None:
        """What an earlier call left, unless the machine was restarted since.

        Disks without journal and an etcd that never synced are not worth mending then.
        """
        found = state.load(self.layout)
        if found is None or found.boot == state.boot():
            return found
        self.progress.report("the machine was restarted since: beginning afresh")
        tear_down(self.layout, owner_of(self.layout))
        return None

    def _build_images(self, spec: ClusterSpec) -> list[Image]:
        return [self.images.program(name) for name in images.needed(spec)]

    def _claim(self, chosen: ClusterState) -> ClusterState:
        """Choose what no other cluster has, and write it down before anything uses it."""
        state.save(self.layout, chosen)
        if chosen.spec.nodes:
            chosen = self._claim_network(chosen)
        servers = ControlPlane(self.layout, chosen).server_addresses()
        ports = state.choose_ports(servers, chosen.ports)
        chosen = replace(chosen, ports=ports)
        state.save(self.layout, chosen)
        return chosen

    def _claim_network(self, chosen: ClusterState) -> ClusterState:
        owner = owner_of(self.layout)
        if chosen.octet is not None and network.claim(Addresses(chosen.octet), owner):
            return chosen
        if chosen.octet is not None and self.layout.pki.exists():
            # Certificates name the addresses; without any yet, others do as well.
            raise ClusterError(
                f"the network of cluster {self.name} belongs to another now: "
                "run 'down', then 'up' again"
            )
        preferred = int(programs.digest([owner.encode()]), 16)
        for octet in network.free_octets(network.networks_in_use(), preferred):
            # Written down first: a crash right here leaves nothing that 'down' cannot find.
            wanted = replace(chosen, octet=octet)
            state.save(self.layout, wanted)
            if network.claim(Addresses(octet), owner):
                return wanted
        raise ClusterError(
            "no free network 10.100.0.0/16 to 10.227.0.0/16 is left for the cluster: "
            "'ip route' shows what uses them"
        )

    def _link_programs(self, spec: ClusterSpec) -> None:
        self.layout.bin.mkdir(parents=True, exist_ok=True)
        for program in programs.needed(spec):
            folder = self.builder.folder(program)
            for name in (*dict(program.packages), *program.links):
                draft = self.layout.bin / f".{name}"
                draft.unlink(missing_ok=True)
                draft.symlink_to(folder / name)
                draft.replace(self.layout.bin / name)

    def _start_nodes(self, chosen: ClusterState, loaded: list[Image]) -> None:
        all_nodes = [Node(self.layout, chosen, index + 1) for index in range(chosen.spec.nodes)]
        with ThreadPoolExecutor(len(all_nodes)) as pool:
            list(pool.map(lambda node: self.start_node(node, loaded), all_nodes))
        network.route_between_nodes(Addresses(chosen.octet or 0), chosen.spec.nodes)
        self.wait_for_nodes()

    def start_node(self, node: Node, loaded: list[Image] | None = None) -> None:
        """Start what does not run of a node, a whole new one if need be."""
        loaded = loaded or self._build_images(self.state.spec)
        node.prepare(loaded[0])
        node.start(nodes.CONTAINERD)
        node.load(loaded[0])  # a kubelet without its pause image starts no pod
        node.start(nodes.KUBELET)
        node.start(KUBE_PROXY)
        for image in loaded[1:]:
            node.load(image)

    def wait_for_nodes(self, *, seconds: float = 120) -> None:
        """Wait until every node is Ready.

        Raises:
            ClusterError: they are not in time.
        """
        wanted = set(self.state.spec.node_names)
        deaths = [death_of(self.layout, node.process(nodes.KUBELET)) for node in self.nodes]
        wait_until(
            lambda: wanted <= self.ready_nodes(), "all nodes to be Ready", seconds=seconds,
            every=0.5, still_alive=lambda: next(filter(None, (ask() for ask in deaths)), None),
        )  # fmt: skip

    def ready_nodes(self) -> set[str]:
        """The names of the nodes whose Ready condition is True."""
        return {
            item["metadata"]["name"]
            for item in self.get("nodes")["items"]
            for condition in item["status"].get("conditions", [])
            if condition["type"] == "Ready" and condition["status"] == "True"
        }

    def down(self) -> None:
        """End and remove everything of the cluster. Does nothing when there is none.

        Raises:
            ClusterError: something could not be removed, and what.
        """
        with state.locked(self.layout):
            tear_down(self.layout, owner_of(self.layout))

    def load(self, *names: str) -> None:
        """Load images into every node, by name or archive.

        Raises:
            ClusterError: there is no such image, or a node cannot load it.
        """
        for name in names:
            image = self.images.resolve(name)
            with self.progress.step(f"loading {name}"), ThreadPoolExecutor(4) as pool:
                list(pool.map(lambda node, image=image: node.load(image), self.nodes))

    def kubectl(self, *arguments: str, text: str | None = None, seconds: float = 120) -> str:
        """Run kubectl as the administrator.

        Raises:
            ClusterError: it failed, and what it said.
        """
        environment = {**os.environ, "KUBECONFIG": str(self.kubeconfig)}
        command = [str(self.layout.bin / "kubectl"), *arguments]
        return run(command, text=text, environment=environment, seconds=seconds)

    def get(self, *arguments: str) -> dict[str, Any]:
        """The JSON that ``kubectl get`` answers."""
        parsed: dict[str, Any] = json.loads(self.kubectl("get", *arguments, "--output=json"))
        return parsed

    def apply(self, *documents: dict[str, Any]) -> None:
        """Apply objects, server-side."""
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(documents)})
        self.kubectl("apply", "--server-side", "--force-conflicts", "--filename=-", text=text)

    def processes(self) -> dict[str, processes.Process | None]:
        """Every process that the cluster should have, and whether it is there."""
        names = sorted(path.stem for path in self.layout.run.glob("*.pid"))
        return {name: processes.find(self.layout, name) for name in names}

    def cgroup(self) -> cgroups.Cgroup:
        """The cgroup that everything is in, if there are nodes."""
        return cgroups.of_cluster(self.state.octet or 0)


def owner_of(layout: Layout) -> str:
    """What tells one cluster from all others on the machine, also of other checkouts."""
    return f"kubeqpu-{programs.digest([str(layout.root).encode()])}"
