"""The controller on a real API server, with the chart's rights, as the chart runs its process.

It is uid 65532, without capabilities to write, on a read-only root with an empty /tmp. The tests
stand in for gateways: they renew Leases and write status as those do.
"""

import base64
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from kubeqpu.admission.classes import DEFAULT_ANNOTATION
from kubeqpu.common import api
from tests.cluster import faults
from tests.cluster.controlplane import API_SERVER
from tests.cluster.errors import ClusterError
from tests.cluster.shell import wait_until
from tests.e2e.api_server.server import APIServer
from tools import chart, crds

NAMESPACE = chart.NAMESPACE
ACCOUNT = "kubeqpu-controller"
USER = f"system:serviceaccount:{NAMESPACE}:{ACCOUNT}"
LEASE_SECONDS = 6
STATUS = ("--subresource=status", "--validate=false", "--force-conflicts")
# Reads its kubeconfig, for /tmp is its own; then drops everything but what it takes to read the
# interpreter of whoever runs the tests.
SANDBOX = """
mount -o remount,bind,ro / && mount -t tmpfs tmpfs /tmp && cat > /tmp/kubeconfig
chmod 444 /tmp/kubeconfig && chmod 1777 /tmp
exec setpriv --reuid=65532 --regid=65532 --clear-groups --no-new-privs \
  --inh-caps=-all,+dac_read_search --ambient-caps=-all,+dac_read_search \
  --bounding-set=-all,+dac_read_search "$@"
"""


class Controller:
    """A process of the controller."""

    def __init__(self, kubeconfig: str, log: Path, name: str) -> None:
        self.name = name
        self._log = log
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": "/",  # as container runtimes set it for users unknown to the image
            "KUBECONFIG": "/tmp/kubeconfig",
            "KUBEQPU_NAMESPACE": NAMESPACE,
            "KUBEQPU_LEASE": ACCOUNT,
            "KUBEQPU_POD_NAME": name,
            "KUBEQPU_LEASE_DURATION_SECONDS": str(LEASE_SECONDS),
            "KUBEQPU_HEALTH_PORT": "0",
            "KUBEQPU_METRICS_PORT": "0",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        command = [
            "unshare", "--mount", "sh", "-c", SANDBOX, "sh",
            sys.executable, "-m", "kubeqpu.admission", "controller",
        ]  # fmt: skip
        with log.open("wb") as errors:
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stderr=errors, env=environment, cwd="/"
            )
        assert self.process.stdin is not None
        self.process.stdin.write(kubeconfig.encode())
        self.process.stdin.close()

    def events(self) -> list[dict[str, Any]]:
        """What it logged."""
        lines = self._log.read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def said(self, event: str) -> bool:
        return any(item["event"] == event for item in self.events())

    def read(self, port: str, path: str) -> str:
        wait_until(lambda: self.said("Controller started"), f"{self.name} to start", seconds=20)
        started = next(item for item in self.events() if item["event"] == "Controller started")
        address = f"http://127.0.0.1:{started[port]}{path}"
        with urllib.request.urlopen(address, timeout=5) as answer:
            return str(answer.read().decode())

    def metric(self, sample: str) -> float:
        lines = self.read("metrics_port", "/metrics").splitlines()
        found = [line for line in lines if line.startswith(f"kubeqpu_controller_{sample} ")]
        return float(found[0].split()[-1])

    def leads(self) -> bool:
        return self.metric("leader") == 1

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(timeout=20)


@pytest.fixture(scope="module")
def kubeconfig(server: APIServer) -> Iterator[str]:
    """The kubeconfig of the chart's ServiceAccount, with its rights and its Lease in place."""
    server.make_namespace(NAMESPACE)
    kinds = {"ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding", "Lease"}
    ours = [
        item
        for item in yaml.safe_load_all(chart.render())
        if item and item["kind"] in kinds and item["metadata"]["name"] == ACCOUNT
    ]
    assert {item["kind"] for item in ours} == kinds
    server.apply(*ours)
    token = server.kubectl("create", "token", ACCOUNT, f"--namespace={NAMESPACE}").strip()
    content = yaml.safe_load(server.cluster.kubeconfig.read_text())
    content["users"][0]["user"] = {"token": token}
    for entry in content["clusters"]:
        if path := entry["cluster"].pop("certificate-authority", None):
            data = base64.b64encode(Path(path).read_bytes()).decode()
            entry["cluster"]["certificate-authority-data"] = data
    yield yaml.safe_dump(content)
    for item in ours:
        where = f"--namespace={NAMESPACE}"
        server.kubectl("delete", item["kind"], ACCOUNT, where, "--ignore-not-found")


@pytest.fixture
def launch(
    kubeconfig: str, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Callable[[str], Controller]]:
    """Starts controllers that end with the test; those still alive end cleanly."""
    started: list[Controller] = []

    def start(name: str) -> Controller:
        started.append(Controller(kubeconfig, tmp_path / f"{name}.log", name))
        return started[-1]

    yield start
    codes = [one.end() for one in started if one.process.poll() is None]
    assert set(codes) <= {0}


class Gateway:
    """Renews the Lease of a QPU and reports it Ready, as a gateway does."""

    def __init__(self, server: APIServer, qpu: str) -> None:
        self.server, self.qpu = server, qpu
        document = api.QPU(
            metadata=api.ObjectMeta(name=qpu), spec=api.QPUSpec(provider="aer", simulator=True)
        )
        server.apply(document.to_manifest(), manager="kubeqpu-gateway")

    def renew(self) -> None:
        now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        metadata = {"name": api.lease_name(self.qpu), "namespace": NAMESPACE}
        spec = {"holderIdentity": "gateway-0", "leaseDurationSeconds": 40, "renewTime": now}
        head = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease"}
        self.server.apply({**head, "metadata": metadata, "spec": spec}, manager="kubeqpu-gateway")

    def report_ready(self) -> None:
        condition = {
            "type": "Ready", "status": "True", "reason": "Reachable", "message": "",
            "lastTransitionTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        }  # fmt: skip
        head = {"apiVersion": api.API_VERSION, "kind": "QPU", "metadata": {"name": self.qpu}}
        status = {"gateway": "gateway.quantum.svc:7070", "conditions": [condition]}
        self.server.apply({**head, "status": status}, manager="kubeqpu-gateway", options=STATUS)

    @contextmanager
    def alive(self) -> Iterator[None]:
        """Renews once a second; failures, as those of an outage, are tried again."""
        stopped = threading.Event()

        def beat() -> None:
            while not stopped.wait(1.0):
                try:
                    self.renew()
                except ClusterError:
                    continue

        thread = threading.Thread(target=beat)
        thread.start()
        yield
        stopped.set()
        thread.join()

    def ready(self) -> api.Condition:
        found = api.QPU.from_manifest(self.server.get("qpu", self.qpu))
        return next(item for item in found.status.conditions if item.type == "Ready")

    def is_silent(self) -> bool:
        return self.ready().reason == "GatewaySilent"


def default_classes(server: APIServer) -> dict[str, str]:
    return {
        item["metadata"]["name"]: item["metadata"].get("annotations", {}).get(DEFAULT_ANNOTATION)
        for item in server.get("qpuclasses")["items"]
    }


def test_it_waits_for_its_definitions_and_makes_the_default_class(
    server: APIServer, launch: Callable[[str], Controller]
) -> None:
    one = launch("one")
    wait_until(one.leads, "it to lead", seconds=20)
    kinds = [crds.definition(kind) for kind in api.OBJECTS]
    server.apply(*kinds)
    names = [f"crd/{kind.resource.name}" for kind in api.OBJECTS]
    server.kubectl("wait", "--for=condition=Established", *names, "--timeout=30s")
    wait_until(lambda: default_classes(server) == {"standard": "true"}, "the class", seconds=15)
    assert "true" in server.kubectl("get", "qpuclass", "standard").splitlines()[1].split()
    # An admin who wants none says so.
    server.kubectl("annotate", "--overwrite", "qpuclass/standard", f"{DEFAULT_ANNOTATION}=false")
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
    ],
)
def test_it_may_do_no_more_than_it_does(server: APIServer, question: tuple[str, str]) -> None:
    with pytest.raises(ClusterError):
        server.kubectl("auth", "can-i", *question, f"--namespace={NAMESPACE}", user=USER)
