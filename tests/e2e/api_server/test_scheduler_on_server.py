"""The chart's scheduler on a real API server: kube-scheduler and extender as its pod runs them.

Both are real processes with the chart's configuration and rights, not as root, on a read-only
root. Nodes are API objects, on which nothing runs.
"""

import json
import signal
import socket
import ssl
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from kubeqpu.common import api
from kubeqpu.common.names import ANNOTATION_CLASS, ANNOTATION_PLACEMENT, RESOURCES, SCHEDULER
from tests.cluster.controlplane import SCHEDULER as PROGRAM
from tests.cluster.errors import ClusterError
from tests.cluster.shell import wait_until
from tests.e2e.api_server.controller import (
    NAMESPACE,
    RIGHTS,
    STATUS,
    acting_as,
    start_confined,
)
from tests.e2e.api_server.labels import put_qpu
from tests.e2e.api_server.server import APIServer
from tools import chart

ACCOUNT = "kubeqpu-scheduler"
USER = f"system:serviceaccount:{NAMESPACE}:{ACCOUNT}"


def find_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def rendered(kind: str) -> dict[str, Any]:
    """An object of the scheduler's, as the chart makes it."""
    found: list[dict[str, Any]] = [
        item
        for item in yaml.safe_load_all(chart.render())
        if item and item["kind"] == kind and item["metadata"]["name"] == ACCOUNT
    ]
    return found[0]


class Pod:
    """A pod of the chart's scheduler."""

    def __init__(
        self,
        server: APIServer,
        kubeconfig: str,
        folder: Path,
        extenders: list[dict[str, Any]] | None = None,
    ) -> None:
        self.folder, self.kubeconfig = folder, kubeconfig
        self.asked, self.secure, self.health = find_port(), find_port(), find_port()
        config = yaml.safe_load(rendered("ConfigMap")["data"]["config.yaml"])
        config["clientConnection"]["kubeconfig"] = "/mnt/kubeconfig"
        config["extenders"] = extenders or config["extenders"]
        for extender in config["extenders"]:
            assert extender["urlPrefix"] == "http://127.0.0.1:7901"
            extender["urlPrefix"] = f"http://127.0.0.1:{self.asked}"
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        container = rendered("Deployment")["spec"]["template"]["spec"]["containers"][0]
        flags = [
            flag.replace("/etc/kubeqpu/scheduler", str(folder)).replace("10259", str(self.secure))
            for flag in container["args"]
        ]
        flags += [
            f"--{what}-kubeconfig=/mnt/kubeconfig" for what in ("authentication", "authorization")
        ]
        program = server.cluster.control_plane.program(PROGRAM)
        environment = {
            "KUBEQPU_PORT": str(self.asked),
            "KUBEQPU_HEALTH_ADDRESS": "127.0.0.1",
            "KUBEQPU_HEALTH_PORT": str(self.health),
            "KUBEQPU_METRICS_PORT": "0",
            "KUBEQPU_POD_NAME": "scheduler-0",
        }
        module = [sys.executable, "-m", "kubeqpu.scheduler_extender"]
        self.extender = start_confined(module, kubeconfig, folder / "extender.log", environment)
        self.scheduler = start_confined([program, *flags], kubeconfig, folder / "scheduler.log", {})

    def probe(self, url: str) -> bool:
        trust = ssl.create_default_context()
        trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE  # it signs its own
        try:
            with urllib.request.urlopen(url, timeout=2, context=trust) as answer:
                return int(answer.status) == 200
        except OSError:
            return False

    def is_ready(self) -> bool:
        assert self.scheduler.poll() is None, self.logs()
        assert self.extender.poll() is None, self.logs()
        return self.probe(f"https://127.0.0.1:{self.secure}/readyz") and self.probe(
            f"http://127.0.0.1:{self.health}/readyz"
        )

    def logs(self) -> str:
        return "".join(
            (self.folder / f"{one}.log").read_text() for one in ("scheduler", "extender")
        )

    def end(self) -> None:
        for process in (self.scheduler, self.extender):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                process.wait(timeout=20)


@pytest.fixture(scope="module")
def pod(
    server: APIServer, definitions: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pod]:
    with acting_as(server, ACCOUNT, RIGHTS | {"Lease"}) as kubeconfig:
        made = Pod(server, kubeconfig, tmp_path_factory.mktemp("scheduler"))
        yield made
        made.end()


@pytest.fixture
def nodes(server: APIServer) -> Iterator[None]:
    """Two nodes with slots of a QPU each; that of `good` errs less."""
    for node, name, error in (("good", "fez", 0.002), ("bad", "torino", 0.02)):
        metadata = {"name": node}
        resources = {"cpu": "8", "memory": "8Gi", "pods": "100", "kubeqpu.io/qpu": "4"}
        server.apply({"apiVersion": "v1", "kind": "Node", "metadata": metadata})
        patch = json.dumps({"status": {"capacity": resources, "allocatable": resources}})
        server.kubectl("patch", "node", node, "--subresource=status", "--type=merge",
                       f"--patch={patch}")  # fmt: skip
        put_qpu(server, name, **{node: 4})
        report(server, name, node, error)
    yield
    server.kubectl("delete", "pods", "--all", "--namespace=default", "--force", "--grace-period=0")
    server.kubectl("delete", "node,qpu,qpuclass", "--all")


def report(server: APIServer, name: str, node: str, error: float) -> None:
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    conditions = [
        {"type": kind, "status": "True", "reason": "Well", "message": "", "lastTransitionTime": now}
        for kind in ("Ready", "Accepting", "Calibrated")
    ]
    calibration = {
        "id": now, "time": now, "medianTwoQubitError": error, "medianOneQubitError": error / 10,
        "medianReadoutError": error,
    }  # fmt: skip
    status = {
        "conditions": conditions, "numQubits": 20, "calibration": calibration,
        "queue": {"providerPending": 0, "gatewayPending": 0, "estimatedWaitSeconds": 1},
        "nodes": [{"name": node, "slots": 4, "held": 0}],
    }  # fmt: skip
    head = {"apiVersion": api.API_VERSION, "kind": "QPU", "metadata": {"name": name}}
    server.apply({**head, "status": status}, manager="kubeqpu-gateway", options=STATUS)


def ask(server: APIServer, name: str, **annotations: str) -> None:
    """Creates a pod that asks for a slot."""
    container = {"name": "main", "image": "none", "resources": {"limits": {"kubeqpu.io/qpu": "1"}}}
    metadata = {"name": name, "namespace": "default", "annotations": annotations}
    spec = {"schedulerName": SCHEDULER, "containers": [container],
            "tolerations": [{"operator": "Exists"}]}  # fmt: skip
    server.apply({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})


def read(server: APIServer, name: str) -> dict[str, Any]:
    return server.get("pod", name, "--namespace=default")


def test_it_starts_without_root_and_holds_its_lease(server: APIServer, pod: Pod) -> None:
    wait_until(pod.is_ready, "both to be ready", seconds=60)
    lease = ("lease", ACCOUNT, f"--namespace={NAMESPACE}")
    wait_until(lambda: server.get(*lease)["spec"].get("holderIdentity"), "the lead", seconds=30)
    assert pod.probe(f"https://127.0.0.1:{pod.secure}/healthz")


@pytest.mark.usefixtures("nodes")
def test_it_places_pods_and_says_why(server: APIServer, pod: Pod) -> None:
    wait_until(pod.is_ready, "both to be ready", seconds=60)
    ask(server, "placed")
    wait_until(lambda: read(server, "placed")["spec"].get("nodeName"), "the pod", seconds=30)
    assert read(server, "placed")["spec"]["nodeName"] == "good"

    def annotations() -> dict[str, str]:
        found: dict[str, str] = read(server, "placed")["metadata"].get("annotations", {})
        return found

    wait_until(lambda: ANNOTATION_PLACEMENT in annotations(), "the explanation", seconds=10)
    placement = json.loads(annotations()[ANNOTATION_PLACEMENT])
    assert (placement["node"], placement["qpu"]) == ("good", "fez")
    wait_until(
        lambda: "Placed" in server.kubectl("get", "events", "--namespace=default"),
        "the Event", seconds=10,
    )  # fmt: skip
    assert "is forbidden" not in pod.logs()


@pytest.mark.usefixtures("nodes")
def test_a_pod_that_no_qpu_serves_waits_and_says_why(server: APIServer, pod: Pod) -> None:
    wait_until(pod.is_ready, "both to be ready", seconds=60)
    ask(server, "refused", **{ANNOTATION_CLASS: "nosuch"})

    def why() -> str:
        conditions = read(server, "refused")["status"].get("conditions", [])
        return "".join(item.get("message", "") for item in conditions)

    wait_until(lambda: "nosuch" in why(), "the reason", seconds=30)
    wanted = api.QPUClass(metadata=api.ObjectMeta(name="nosuch"), spec=api.QPUClassSpec())
    server.apply(wanted.to_manifest())
    # Woken by an annotation of a node, for which the chart gives the right.
    wait_until(lambda: read(server, "refused")["spec"].get("nodeName"), "the pod", seconds=30)
    assert "is forbidden" not in pod.logs()


@pytest.mark.usefixtures("pod")
@pytest.mark.parametrize(
    "question",
    [
        ("list", "secrets"),
        ("patch", "qpus"),
        ("patch", "qpus/status"),
        ("create", "qpuclasses"),
        ("create", "pods"),
        ("delete", "nodes"),
        ("update", "leases.coordination.k8s.io/other"),
    ],
)
def test_it_may_do_no_more_than_it_does(server: APIServer, question: tuple[str, str]) -> None:
    with pytest.raises(ClusterError):
        server.kubectl("auth", "can-i", *question, f"--namespace={NAMESPACE}", user=USER)


@pytest.mark.parametrize(
    ("version", "tag"),
    [("v1.33.4-gke.1036000", "v1.33.4"), ("v1.34.1+k3s1", "v1.34.1"), ("v1.36.3", "v1.36.3")],
)
def test_it_is_of_the_clusters_version_whatever_a_vendor_adds(version: str, tag: str) -> None:
    assert f'"registry.k8s.io/kube-scheduler:{tag}"' in chart.render(version=version)


def documented_extenders() -> list[dict[str, Any]]:
    page = (chart.ROOT / "docs" / "how-to" / "place-pods.md").read_text()
    stanza = next(block for block in page.split("```")[1::2] if "extenders:" in block)
    found: list[dict[str, Any]] = yaml.safe_load(stanza.removeprefix("yaml"))["extenders"]
    return found


def test_the_documented_stanza_asks_the_same_about_our_resources_alone(
    server: APIServer, pod: Pod, tmp_path: Path
) -> None:
    (stanza,) = documented_extenders()
    assert [item["name"] for item in stanza.pop("managedResources")] == list(RESOURCES)
    (asked,) = yaml.safe_load(rendered("ConfigMap")["data"]["config.yaml"])["extenders"]
    assert stanza == {**asked, "httpTimeout": stanza["httpTimeout"]}
    # The real program takes it.
    other = Pod(server, pod.kubeconfig, tmp_path, documented_extenders())
    try:
        wait_until(other.is_ready, "both to be ready", seconds=60)
    finally:
        other.end()
