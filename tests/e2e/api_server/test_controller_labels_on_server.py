"""Node labels by the controller on a real API server, with the chart's rights."""

import time
from collections.abc import Callable, Iterator

import pytest

from tests.cluster.shell import wait_until
from tests.e2e.api_server.controller import Controller
from tests.e2e.api_server.labels import FEZ, OWN, labels, put_node, put_qpu, report_slots
from tests.e2e.api_server.server import APIServer


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
