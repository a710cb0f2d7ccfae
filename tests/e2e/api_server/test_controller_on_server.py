"""The controller on a real API server, with the chart's rights, as the chart runs its process.

It is uid 65532, without capabilities to write, on a read-only root with an empty /tmp. The tests
stand in for gateways: they renew Leases and write status as those do.
"""

import signal
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from kubeqpu.admission import silence
from kubeqpu.common import api
from kubeqpu.common.names import ANNOTATION_DEFAULT_CLASS
from tests.cluster import faults
from tests.cluster.controlplane import API_SERVER
from tests.cluster.errors import ClusterError
from tests.cluster.shell import wait_until
from tests.e2e.api_server.controller import (
    ACCOUNT,
    LEASE_SECONDS,
    NAMESPACE,
    STATUS,
    Controller,
    Gateway,
)
from tests.e2e.api_server.server import APIServer
from tools import crds

USER = f"system:serviceaccount:{NAMESPACE}:{ACCOUNT}"


def default_classes(server: APIServer) -> dict[str, str]:
    return {
        item["metadata"]["name"]: item["metadata"]
        .get("annotations", {})
        .get(ANNOTATION_DEFAULT_CLASS)
        for item in server.get("qpuclasses")["items"]
    }


def test_it_waits_for_its_definitions_and_makes_the_default_class(
    server: APIServer, launch: Callable[[str], Controller]
) -> None:
    names = [f"crd/{kind.resource.name}" for kind in api.OBJECTS]
    server.cluster.kubectl("delete", "--ignore-not-found", *names, seconds=300)
    one = launch("one")
    wait_until(one.leads, "it to lead", seconds=20)
    server.apply(*(crds.definition(kind) for kind in api.OBJECTS))
    server.kubectl("wait", "--for=condition=Established", *names, "--timeout=30s")
    wait_until(lambda: default_classes(server) == {"standard": "true"}, "the class", seconds=15)
    assert "true" in server.kubectl("get", "qpuclass", "standard").splitlines()[1].split()
    # An admin who wants none says so.
    server.kubectl(
        "annotate", "--overwrite", "qpuclass/standard", f"{ANNOTATION_DEFAULT_CLASS}=false"
    )
    time.sleep(3)
    assert default_classes(server) == {"standard": "false"}
    assert one.read("health_port", "/healthz") == "ok\n"


@pytest.mark.usefixtures("definitions")
class TestQPUs:
    def test_a_silent_gateway_is_told_and_one_that_returns_wins(
        self, server: APIServer, launch: Callable[[str], Controller]
    ) -> None:
        gateway = Gateway(server, "told")
        one = launch("one")
        wait_until(one.leads, "it to lead", seconds=20)
        with gateway.alive():
            gateway.report_ready()
            time.sleep(LEASE_SECONDS + 3)
            assert gateway.ready().status == "True"
        last = time.monotonic()
        wait_until(gateway.is_silent, "Ready to become Unknown", seconds=LEASE_SECONDS + 5)
        assert time.monotonic() - last > LEASE_SECONDS - 3
        told = gateway.ready()
        assert told.status == "Unknown"
        assert "gateway.quantum.svc:7070" in told.message
        assert "describe pod gateway-0 --namespace=quantum" in told.message
        assert told.last_transition_time > datetime.now(UTC) - timedelta(seconds=20)
        assert "GatewaySilent" in server.kubectl("describe", "qpu", "told")
        with gateway.alive():
            gateway.renew()
            gateway.report_ready()
            time.sleep(LEASE_SECONDS + 3)
            assert gateway.ready().status == "True"
        assert one.metric('writes_total{object="condition"}') == 1
        assert one.metric('writes_total{object="event"}') == 1
        assert [item["event"] for item in one.events() if item["level"] == "error"] == []

    def test_a_lease_that_was_old_before_is_judged_sooner_and_none_later(
        self, server: APIServer, launch: Callable[[str], Controller]
    ) -> None:
        gateway = Gateway(server, "orphan")
        gateway.report_ready()
        one = launch("one")
        wait_until(lambda: one.said("Leases in sight"), "sight", seconds=20)
        time.sleep(2)
        assert not gateway.is_silent()
        wait_until(gateway.is_silent, "Ready to become Unknown", seconds=LEASE_SECONDS + 3)
        assert "renews no Lease quantum/kubeqpu-qpu-orphan" in gateway.ready().message

    def test_the_api_server_refuses_a_condition_made_from_what_has_changed(
        self, server: APIServer
    ) -> None:
        gateway = Gateway(server, "raced")
        gateway.report_ready()
        read = api.QPU.from_manifest(server.get("qpu", "raced"))
        gateway.report_ready(reason="Back")
        late = silence.condition(read, "late", datetime.now(UTC))
        with pytest.raises(ClusterError, match="the object has been modified"):
            server.apply(late, manager="kubeqpu-controller", options=STATUS)
        assert gateway.ready().reason == "Back"

    def test_another_takes_over_when_the_leader_is_killed(
        self, server: APIServer, launch: Callable[[str], Controller]
    ) -> None:
        gateway = Gateway(server, "left")
        gateway.renew()
        gateway.report_ready()
        first = launch("first")
        wait_until(first.leads, "the first to lead", seconds=20)
        second = launch("second")
        wait_until(lambda: second.said("Leases in sight"), "the second to watch", seconds=20)
        assert not second.leads()
        first.end(signal.SIGKILL)
        wait_until(second.leads, "the second to lead", seconds=15)
        wait_until(gateway.is_silent, "the second to act", seconds=LEASE_SECONDS * 2 + 3)
        assert second.metric('writes_total{object="condition"}') >= 1

    @pytest.mark.timed
    def test_a_leader_that_is_stopped_hands_over_at_once(
        self, launch: Callable[[str], Controller]
    ) -> None:
        first = launch("first")
        wait_until(first.leads, "the first to lead", seconds=20)
        second = launch("second")
        wait_until(lambda: second.said("Leases in sight"), "the second to watch", seconds=20)
        stopped = time.monotonic()
        assert first.end() == 0
        wait_until(second.leads, "the second to lead", seconds=2)
        assert time.monotonic() - stopped < 2.5

    def test_an_outage_of_the_api_server_is_not_the_gateways(
        self, server: APIServer, launch: Callable[[str], Controller]
    ) -> None:
        gateway = Gateway(server, "patient")
        one = launch("one")
        wait_until(one.leads, "it to lead", seconds=20)
        with gateway.alive():
            gateway.report_ready()
            before = gateway.ready()
            faults.kill(server.cluster, API_SERVER)
            time.sleep(LEASE_SECONDS * 2)
            assert not one.leads()
            assert one.read("health_port", "/healthz") == "ok\n"
            faults.restart_control_plane(server.cluster)
            wait_until(one.leads, "it to lead again", seconds=30)
            time.sleep(LEASE_SECONDS)
            assert gateway.ready() == before
        wait_until(gateway.is_silent, "it to judge again", seconds=LEASE_SECONDS * 2 + 20)
        assert len([item for item in one.events() if item["event"] == "Loop failed"]) <= 8


@pytest.mark.usefixtures("definitions", "kubeconfig")
@pytest.mark.parametrize(
    "question",
    [
        ("create", "qpus"),
        ("patch", "qpus"),
        ("delete", "qpuclasses"),
        ("patch", "qpuclasses"),
        ("create", "leases.coordination.k8s.io"),
        ("patch", "leases.coordination.k8s.io/kubeqpu-qpu-told"),
        ("list", "secrets"),
        ("list", "namespaces"),
        ("list", "customresourcedefinitions"),
        ("create", "events"),
        ("create", "nodes"),
        ("delete", "nodes"),
    ],
)
def test_it_may_do_no_more_than_it_does(server: APIServer, question: tuple[str, str]) -> None:
    with pytest.raises(ClusterError):
        server.kubectl("auth", "can-i", *question, f"--namespace={NAMESPACE}", user=USER)
