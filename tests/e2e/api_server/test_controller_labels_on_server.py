"""Node labels by the controller on a real API server, with the chart's rights."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from kubeqpu.common import api
from tests.cluster.shell import wait_until
from tests.e2e.api_server.controller import STATUS, Controller
from tests.e2e.api_server.server import APIServer

FEZ = {"qpu.kubeqpu.io/fez": "true", "slots.kubeqpu.io/qpu": "true"}
OWN = {"team": "lab"}


def put_node(server: APIServer, name: str, **labels: str) -> None:
    metadata = {"name": name, "labels": {**OWN, **labels}}
    server.apply({"apiVersion": "v1", "kind": "Node", "metadata": metadata}, manager="kubelet")


def put_qpu(server: APIServer, name: str, **slots: int) -> None:
    metadata = {"name": name}
    head: dict[str, Any] = {"apiVersion": api.API_VERSION, "kind": "QPU", "metadata": metadata}
    server.apply({**head, "spec": {"provider": "fake"}}, manager="kubeqpu-gateway")
    report_slots(server, name, **slots)


def report_slots(server: APIServer, name: str, **slots: int) -> None:
    nodes = [{"name": node, "slots": count, "held": 0} for node, count in slots.items()]
    head = {"apiVersion": api.API_VERSION, "kind": "QPU", "metadata": {"name": name}}
    server.apply({**head, "status": {"nodes": nodes}}, manager="kubeqpu-gateway", options=STATUS)


def labels(server: APIServer, node: str) -> dict[str, str]:
    found: dict[str, str] = server.get("node", node)["metadata"]["labels"]
    return found


@pytest.fixture
def nodes(server: APIServer) -> Iterator[tuple[str, str]]:
    for name in ("a", "b"):
        put_node(server, name)
    yield "a", "b"
    server.kubectl("delete", "node,qpu", "--all")


@pytest.mark.usefixtures("definitions")
class TestLabels:
    @pytest.mark.timed
    def test_they_follow_the_status_within_a_second(
        self, server: APIServer, launch: Callable[[str], Controller], nodes: tuple[str, str]
    ) -> None:
        put_qpu(server, "fez", a=2, b=0)
        one = launch("one")
        wait_until(lambda: labels(server, "a") == OWN | FEZ, "labels", seconds=20)
        assert labels(server, "b") == OWN
        report_slots(server, "fez", b=1)
        changed = time.monotonic()
        wait_until(lambda: labels(server, "b") == OWN | FEZ, "labels to follow", seconds=5)
        assert time.monotonic() - changed < 1
        wait_until(lambda: labels(server, "a") == OWN, "labels to go", seconds=5)
        server.kubectl("delete", "qpu", "fez")
        wait_until(lambda: labels(server, "b") == OWN, "labels to go", seconds=5)
        assert one.metric('writes_total{object="node"}') == 4
        assert one.metric('errors_total{loop="labels"}') == 0

    def test_a_new_leader_mends_what_happened_while_nobody_looked(
        self, server: APIServer, launch: Callable[[str], Controller], nodes: tuple[str, str]
    ) -> None:
        put_qpu(server, "fez", a=2, missing=1)
        # One from a QPU that is gone, one that someone changed, one that someone else wrote.
        put_node(server, "a", **{"qpu.kubeqpu.io/fez": "false", "qpu.kubeqpu.io/gone": "true"})
        put_node(server, "b", **FEZ)
        one = launch("one")
        wait_until(lambda: labels(server, "a") == OWN | FEZ, "labels", seconds=20)
        wait_until(lambda: labels(server, "b") == OWN, "labels to go", seconds=5)
        # A node that the QPU names and that does not exist is not made.
        time.sleep(2)
        names = server.kubectl("get", "nodes", "--output=name").split()
        assert names == ["node/a", "node/b"]
        assert one.metric('errors_total{loop="labels"}') == 0
        assert one.metric('writes_total{object="node"}') == 2
