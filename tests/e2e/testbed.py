"""What the end-to-end tests run on: a cluster, kubectl, and a way to give it images.

Two kinds: the cluster that `tests/cluster` builds on this machine, and any other that `KUBECONFIG`
names, such as kind, with `KUBEQPU_LOAD_IMAGE` as the command that loads an image into its nodes.
"""

import json
import os
import shlex
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from tests.cluster import faults, volumes
from tests.cluster.cluster import Cluster
from tests.cluster.images import Image
from tests.cluster.network import route_between_nodes
from tests.cluster.nodes import Node
from tests.cluster.programs import HELM
from tests.cluster.shell import run
from tests.cluster.spec import Addon, ClusterSpec
from tools import chart

ROOT = Path(__file__).resolve().parents[2]
NAME = "e2e"
SPEC = ClusterSpec(NAME, nodes=2, addons=(Addon.COREDNS, Addon.KUEUE, Addon.ARGO, Addon.POSTGRESQL))
ADDONS = (("kube-system", "coredns"), ("kueue-system", "kueue-controller-manager"))
CERTIFICATES = "/etc/ssl/certs"


class E2ECluster(Protocol):
    """A running cluster.

    Attributes:
        kubeconfig: The administrator's kubeconfig.
        own: The cluster of `tests/cluster`, which tests may break; None for any other.
    """

    kubeconfig: Path
    own: Cluster | None

    def kubectl(self, *arguments: str, text: str | None = None, seconds: float = 120) -> str:
        """Runs kubectl and returns its output."""

    def helm(self, *arguments: str | Path, seconds: float = 180) -> str:
        """Runs Helm and returns its output."""

    def provide(self, component: str) -> str:
        """Builds a component's image from the repository's Dockerfile, loads it, and names it."""

    def offer_volume(self) -> None:
        """Makes sure that one more claim of the default storage class can be bound."""


class OwnCluster:
    """The cluster of `tests/cluster`, with images built by buildah on a base made here."""

    def __init__(self) -> None:
        cluster = Cluster(NAME)
        cluster.up(SPEC)
        self.own: Cluster | None = cluster
        self.kubeconfig = cluster.kubeconfig
        self._cluster = cluster
        self._provided: dict[str, Image] = {}

    def kubectl(self, *arguments: str, text: str | None = None, seconds: float = 120) -> str:
        """Runs kubectl as the administrator."""
        return self._cluster.kubectl(*arguments, text=text, seconds=seconds)

    def helm(self, *arguments: str | Path, seconds: float = 180) -> str:
        """Runs the Helm that was built for the cluster."""
        return _helm(chart.find_program(HELM), self.kubeconfig, arguments, seconds)

    def offer_volume(self) -> None:
        """Makes an empty volume on every node."""
        volumes.offer(self._cluster)

    def provide(self, component: str) -> str:
        """Builds and loads a component's image, once per session."""
        if component not in self._provided:
            images = self._cluster.images
            image = images.build(
                f"localhost/kubeqpu/{component}:e2e",
                ROOT / "Dockerfile",
                ROOT,
                arguments={"BASE": images.base(), "COMPONENT": component},
                # The package index is reached with the machine's own certificates.
                volumes=[f"{CERTIFICATES}:{CERTIFICATES}:ro"],
            )
            self._cluster.load(str(image.archive))
            self._provided[component] = image
        return self._provided[component].reference

    @contextmanager
    def one_more_node(self, *components: str) -> Iterator[Node]:
        """Lends the cluster a node, for as long as the context is open.

        Args:
            components: Whose images it has; no other pod of the release may be placed there.
        """
        state, images = self._cluster.state, self._cluster.images
        node = Node(self._cluster.layout, state, state.spec.nodes + 1)
        try:
            self._cluster.start_node(node, [images.program("pause")])
            route_between_nodes(node.addresses, node.index)
            for component in components:
                node.load(self._provided[component])
            faults.wait_for_readiness(self._cluster, node, ready=True)
            yield node
        finally:
            node.stop()
            self.kubectl("delete", "node", node.name, "--ignore-not-found")
            # Nobody else would, for most of a minute.
            self.kubectl(
                "delete", "pods", "--all-namespaces", f"--field-selector=spec.nodeName={node.name}",
                "--force", "--grace-period=0",
            )  # fmt: skip


class GivenCluster:
    """A cluster that somebody else runs, with images built by docker."""

    own: Cluster | None = None

    def __init__(self, kubeconfig: Path, load_command: str) -> None:
        self.kubeconfig = kubeconfig
        self._load_command = shlex.split(load_command)
        self._provided: dict[str, str] = {}

    def kubectl(self, *arguments: str, text: str | None = None, seconds: float = 120) -> str:
        """Runs the kubectl that is on PATH."""
        environment = {**os.environ, "KUBECONFIG": str(self.kubeconfig)}
        return run(["kubectl", *arguments], text=text, environment=environment, seconds=seconds)

    def helm(self, *arguments: str | Path, seconds: float = 180) -> str:
        """Runs the Helm that is on PATH."""
        return _helm("helm", self.kubeconfig, arguments, seconds)

    def offer_volume(self) -> None:
        """Does nothing: such a cluster has a storage class that makes volumes."""

    def provide(self, component: str) -> str:
        """Builds and loads a component's image, once per session."""
        if component not in self._provided:
            reference = f"kubeqpu/{component}:e2e"
            run(
                ["docker", "build", "--quiet", "--tag", reference,
                 "--build-arg", f"COMPONENT={component}", ROOT],
                seconds=1800,
            )  # fmt: skip
            run([*self._load_command, reference], seconds=600)
            self._provided[component] = reference
        return self._provided[component]


def _helm(program: str, kubeconfig: Path, arguments: Sequence[str | Path], seconds: float) -> str:
    environment = {**os.environ, "KUBECONFIG": str(kubeconfig)}
    return run([program, *arguments], environment=environment, seconds=seconds)


def find_testbed() -> E2ECluster:
    """Brings up the cluster of this repository, or takes the one that the environment names.

    Raises:
        RuntimeError: If `KUBECONFIG` is set, but not what is needed with it.
    """
    kubeconfig = os.environ.get("KUBECONFIG")
    if not kubeconfig:
        return OwnCluster()
    load_command = os.environ.get("KUBEQPU_LOAD_IMAGE")
    if not load_command or not shutil.which("kubectl") or not shutil.which("docker"):
        raise RuntimeError(
            "KUBECONFIG is set, so the tests use that cluster; they then need docker, kubectl and "
            "KUBEQPU_LOAD_IMAGE, the command that loads an image into its nodes, such as "
            "'kind load docker-image'. Unset KUBECONFIG to let them build a cluster of their own."
        )
    return GivenCluster(Path(kubeconfig), load_command)


def move_addons(testbed: E2ECluster, node: str) -> None:
    """Moves what every test needs, name service and Kueue, off a node that is about to fail."""
    testbed.kubectl("cordon", node)
    for namespace, deployment in ADDONS:
        where = f"--namespace={namespace}"
        on_node = f"--field-selector=spec.nodeName={node}"
        testbed.kubectl("delete", "pods", on_node, where, "--wait=true")
        testbed.kubectl("rollout", "status", f"deployment/{deployment}", where, "--timeout=90s")
    testbed.kubectl("uncordon", node)


def wait_for_addons(testbed: E2ECluster) -> None:
    """Waits until what every test needs, name service and Kueue, answers."""
    for namespace, deployment in ADDONS:
        testbed.kubectl(
            "rollout", "status", f"deployment/{deployment}", f"--namespace={namespace}",
            "--timeout=120s", seconds=150,
        )  # fmt: skip


def read(testbed: E2ECluster, *arguments: str) -> dict[str, Any]:
    """Returns the JSON that `kubectl get` answers."""
    found: dict[str, Any] = json.loads(testbed.kubectl("get", *arguments, "--output=json"))
    return found


def apply(testbed: E2ECluster, *documents: dict[str, Any]) -> None:
    """Applies objects, server-side."""
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(documents)})
    testbed.kubectl("apply", "--server-side", "--force-conflicts", "--filename=-", text=text)
