"""The extender with a real API server: it explains and wakes."""

import json
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from kubeqpu.common.names import ANNOTATION_PLACEMENT, ANNOTATION_WAKE
from tests.cluster.shell import wait_until
from tests.e2e.api_server.server import APIServer
from tests.support.extender_objects import Object, args, class_object, qpu_object
from tests.support.extender_process import ExtenderProcess, extender_process

SCHEDULER_NAME = "the-test"
NAMESPACE, NODES = "extender", ["extender-1", "extender-2"]


@pytest.fixture(scope="module")
def extender(server: APIServer, definitions: None) -> Iterator[ExtenderProcess]:
    server.make_namespace(NAMESPACE)
    for node in NODES:
        server.apply({"apiVersion": "v1", "kind": "Node", "metadata": {"name": node}})
    for name, node, wait in (("quick", NODES[0], 0.0), ("slow", NODES[1], 600.0)):
        report(server, qpu_object(name, {node: (2, 0)}, wait=wait))
    name = f"--scheduler-name={SCHEDULER_NAME}"
    with extender_process(server.cluster.kubeconfig, name) as process:
        yield process
    server.kubectl("delete", "namespace", NAMESPACE, "--wait=false")
    server.kubectl("delete", "node", *NODES)
    server.kubectl("delete", "qpu,qpuclass", "--all")


def report(server: APIServer, qpu: Object) -> None:
    server.apply(qpu)
    server.apply(qpu, options=("--subresource=status",))


def make_pod(server: APIServer, name: str, **annotations: str) -> Object:
    limits = {"limits": {"kubeqpu.io/qpu": "1"}}
    security = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    container = {
        "name": "main",
        "image": "example",
        "resources": limits,
        "securityContext": security,
    }
    metadata = {
        "name": name,
        "namespace": NAMESPACE,
        "annotations": {f"kubeqpu.io/{key}": value for key, value in annotations.items()},
    }
    # Nobody but the test schedules it.
    spec = {"schedulerName": SCHEDULER_NAME, "containers": [container]}
    server.apply({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
    return server.get("pod", name, f"--namespace={NAMESPACE}")


def bind(server: APIServer, pod: str, node: str) -> None:
    target = {"apiVersion": "v1", "kind": "Node", "name": node}
    binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": pod}, "target": target}
    path = f"/api/v1/namespaces/{NAMESPACE}/pods/{pod}/binding"
    server.kubectl("create", f"--raw={path}", "--filename=-", text=json.dumps(binding))


def ask(extender: ExtenderProcess, verb: str, body: bytes) -> Any:
    request = urllib.request.Request(f"http://127.0.0.1:{extender.port}/{verb}", body)
    with urllib.request.urlopen(request, timeout=10) as reply:
        return json.loads(reply.read())


def test_a_bound_pod_carries_its_explanation(server: APIServer, extender: ExtenderProcess) -> None:
    pod = make_pod(server, "bell", **{"circuit-shape": "50,10"})
    nodes = ask(extender, "filter", args(pod, NODES))["NodeNames"]
    assert nodes == NODES
    bind(server, "bell", nodes[0])

    def annotations() -> dict[str, str]:
        bound = server.get("pod", "bell", f"--namespace={NAMESPACE}")
        found: dict[str, str] = bound["metadata"]["annotations"]
        return found

    wait_until(lambda: ANNOTATION_PLACEMENT in annotations(), "the explanation", seconds=10)
    assert annotations()["kubeqpu.io/circuit-shape"] == "50,10"
    told = json.loads(annotations()[ANNOTATION_PLACEMENT])
    assert (told["qpu"], told["runnerUp"]["qpu"]) == ("quick", "slow")
    options = (f"--namespace={NAMESPACE}", "--field-selector=reason=Placed")
    wait_until(lambda: server.get("events", *options)["items"], "the Event", seconds=10)
    described = server.kubectl("describe", "pod", "bell", f"--namespace={NAMESPACE}")
    assert f"QPU quick on node {NODES[0]} scored" in described


def test_a_refused_pod_is_woken_by_a_changed_node(
    server: APIServer, extender: ExtenderProcess
) -> None:
    pod = make_pod(server, "wide", **{"class": "wide"})
    found = ask(extender, "filter", args(pod, NODES))
    assert set(found["FailedAndUnresolvableNodes"]) == set(NODES)
    server.apply(class_object("wide", minQubits=20))

    def woken() -> bool:
        annotations = [server.get("node", node)["metadata"].get("annotations", {})
                       for node in NODES]  # fmt: skip
        return any(ANNOTATION_WAKE in found for found in annotations)

    wait_until(woken, "a changed node", seconds=5)
    assert ask(extender, "filter", args(pod, NODES))["NodeNames"] == NODES
