"""A process of the controller as the chart runs it, and a gateway as it sees one."""

import base64
import json
import os
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from kubeqpu.common import api
from tests.cluster.errors import ClusterError
from tests.cluster.shell import wait_until
from tests.e2e.api_server.server import APIServer
from tools import chart

NAMESPACE = chart.NAMESPACE
ACCOUNT = "kubeqpu-controller"
RIGHTS = frozenset({"ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"})
LEASE_SECONDS = 6
# kubectl itself would ask for a spec.
STATUS = ("--subresource=status", "--validate=false", "--force-conflicts")
# Reads its kubeconfig into memory of its own, which stands for a pod's /tmp: the checkout may lie
# in the machine's. Then drops everything but what it takes to read the interpreter of whoever runs
# the tests.
SANDBOX = """
mount -o remount,bind,ro / && mount -t tmpfs tmpfs /mnt && cat > /mnt/kubeconfig
chmod 444 /mnt/kubeconfig && chmod 1777 /mnt
exec setpriv --reuid=65532 --regid=65532 --clear-groups --no-new-privs \
  --inh-caps=-all,+dac_read_search --ambient-caps=-all,+dac_read_search \
  --bounding-set=-all,+dac_read_search "$@"
"""


def start(
    command: str, kubeconfig: str, log: Path, environment: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Starts a command of the admission image as its pods do."""
    variables = {"KUBEQPU_NAMESPACE": NAMESPACE, "KUBEQPU_LEASE": ACCOUNT, **(environment or {})}
    arguments = [sys.executable, "-m", "kubeqpu.admission", command]
    return start_confined(arguments, kubeconfig, log, variables)


def start_confined(
    arguments: Sequence[str], kubeconfig: str, log: Path, environment: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    """Starts a program as the chart's containers do: not as root, and on a read-only root.

    It may write below /mnt, and its kubeconfig is there.
    """
    variables = {
        "PATH": os.environ["PATH"],
        "HOME": "/",  # as container runtimes set it for users unknown to the image
        "KUBECONFIG": "/mnt/kubeconfig",
        "TMPDIR": "/mnt",
        "PYTHONDONTWRITEBYTECODE": "1",
        **environment,
    }
    command = ["unshare", "--mount", "sh", "-c", SANDBOX, "sh", *arguments]
    with log.open("wb") as errors:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stderr=errors, env=variables, cwd="/"
        )
    assert process.stdin is not None
    process.stdin.write(kubeconfig.encode())
    process.stdin.close()
    return process


def make_kubeconfig(server: APIServer, account: str) -> str:
    """Makes a kubeconfig of an account that is there."""
    token = server.kubectl("create", "token", account, f"--namespace={NAMESPACE}").strip()
    content = yaml.safe_load(server.cluster.kubeconfig.read_text())
    content["users"][0]["user"] = {"token": token}
    for entry in content["clusters"]:
        if path := entry["cluster"].pop("certificate-authority", None):
            data = base64.b64encode(Path(path).read_bytes()).decode()
            entry["cluster"]["certificate-authority-data"] = data
    return str(yaml.safe_dump(content))


@contextmanager
def acting_as(
    server: APIServer, account: str, kinds: Set[str], settings: Sequence[str] = ()
) -> Iterator[str]:
    """Gives the kubeconfig of an account of the chart, whose objects of some kinds are in place."""
    server.make_namespace(NAMESPACE)
    ours = [
        item
        for item in yaml.safe_load_all(chart.render(settings=settings))
        if item and item["kind"] in kinds and item["metadata"]["name"].startswith(account)
    ]
    assert {item["kind"] for item in ours} == kinds
    server.apply(*ours)
    yield make_kubeconfig(server, account)
    for item in ours:
        name, where = item["metadata"]["name"], item["metadata"].get("namespace", NAMESPACE)
        server.kubectl("delete", item["kind"], name, f"--namespace={where}", "--ignore-not-found")


class Controller:
    """A process of the controller."""

    def __init__(
        self,
        kubeconfig: str,
        log: Path,
        name: str,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self._log = log
        environment = {
            "KUBEQPU_POD_NAME": name,
            "KUBEQPU_LEASE_DURATION_SECONDS": str(LEASE_SECONDS),
            "KUBEQPU_HEALTH_PORT": "0",
            "KUBEQPU_METRICS_PORT": "0",
            **(settings or {}),
        }
        self.process = start("controller", kubeconfig, log, environment)

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


class Gateway:
    """Renews the Lease of a QPU and reports it Ready, as a gateway does."""

    def __init__(self, server: APIServer, qpu: str, spec: api.QPUSpec | None = None) -> None:
        self.server, self.qpu = server, qpu
        document = api.QPU(
            metadata=api.ObjectMeta(name=qpu),
            spec=spec or api.QPUSpec(provider="aer", simulator=True),
        )
        server.apply(document.to_manifest(), manager="kubeqpu-gateway")

    def renew(self) -> None:
        now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        metadata = {"name": api.lease_name(self.qpu), "namespace": NAMESPACE}
        spec = {"holderIdentity": "gateway-0", "leaseDurationSeconds": 40, "renewTime": now}
        head = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease"}
        self.server.apply({**head, "metadata": metadata, "spec": spec}, manager="kubeqpu-gateway")

    def report_ready(self, reason: str = "Reachable") -> None:
        condition = {
            "type": "Ready", "status": "True", "reason": reason, "message": "",
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
