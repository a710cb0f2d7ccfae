"""A release of the chart on a real cluster, and what its users do with it."""

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from kubeqpu.common import api
from tests.cluster.errors import ClusterError
from tests.cluster.shell import wait_until
from tests.e2e.testbed import E2ECluster, apply, read, wait_for_addons
from tools import chart

NAMESPACE = "quantum"
NAME = "kubeqpu"
TLS_SECRET = "kubeqpu-gateway-default-tls"
GATEWAY_POD = "kubeqpu-gateway-default-0"
QPUS = ("aer", "fake-fez")
AUTHORITY = "kubeqpu-authority"
AUDIENCE = "kubeqpu.io/gateway"
ADDRESS = f"kubeqpu-gateway-default.{NAMESPACE}.svc:7070"
# What pods must be to be admitted where PodSecurity `restricted` is enforced.
RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}

SUBMIT = """
import json
from qiskit import QuantumCircuit
from kubeqpu.client import GatewayClient, SamplerEntry, SamplerJob, Options, circuits_to_qpy
bell = QuantumCircuit(2)
bell.h(0)
bell.cx(0, 1)
bell.measure_all()
ids = []
with GatewayClient() as client:
    for number in range({jobs}):
        job = SamplerJob(
            circuits=circuits_to_qpy([bell]), entries=[SamplerEntry(shots=1000)] * {entries},
            qpu="{qpu}", seed=number, options=Options(transpile_level=1),
        )
        ids.append(client.submit(job).id)
print(json.dumps(ids))
"""
READ = """
import json
from kubeqpu.client import GatewayClient
found = {{}}
with GatewayClient(patience_seconds=60) as client:
    for name in {ids}:
        result = client.job(name).result(timeout_seconds=120)
        rows = [entry.counts.row(0) for entry in result.entries]
        found[name] = [{{int(key): int(shots) for key, shots in row.items()}} for row in rows]
print(json.dumps(found))
"""


@dataclass(frozen=True)
class Release:
    """A release of the chart.

    Attributes:
        testbed: The cluster it is installed on.
        images: The `--set` flags that name the images under test.
    """

    testbed: E2ECluster
    images: tuple[str, ...]

    def install(self, *flags: str) -> float:
        """Installs the chart; returns seconds until every QPU of it is Ready.

        Raises:
            ClusterError: If Helm refuses, or a QPU is not Ready within two minutes.
        """
        start = time.monotonic()
        self.helm("install", *flags)
        wait_until(self.all_ready, "the QPUs to be Ready", seconds=120, every=0.2)
        return time.monotonic() - start

    def helm(self, verb: str, *flags: str) -> str:
        """Installs or upgrades the release."""
        where = f"--namespace={NAMESPACE}"
        return self.testbed.helm(verb, NAME, chart.CHART, where, *self.images, *flags)

    def kubectl(self, *arguments: str, text: str | None = None) -> str:
        """Runs kubectl in the release's namespace."""
        return self.testbed.kubectl(f"--namespace={NAMESPACE}", *arguments, text=text)

    def qpus(self) -> dict[str, dict[str, Any]]:
        """Reads all QPUs by name."""
        return {item["metadata"]["name"]: item for item in read(self.testbed, "qpus")["items"]}

    def condition(self, qpu: str, kind: str) -> dict[str, Any]:
        """Reads a condition of a QPU; an empty one if it has none."""
        status = read(self.testbed, "qpu", qpu).get("status", {})
        conditions = {item["type"]: item for item in status.get("conditions", [])}
        found: dict[str, Any] = conditions.get(kind, {})
        return found

    def all_ready(self) -> bool:
        """Tells whether the QPUs of the default values are Ready."""
        try:
            return all(
                self.condition(name, "Ready").get("status") == "True"
                for name in ("aer", "fake-fez")
            )
        except ClusterError:
            return False

    def wait_for_condition(self, qpu: str, kind: str, status: str, seconds: float) -> float:
        """Waits until a condition has a status; returns the seconds that took.

        Raises:
            ClusterError: If it does not in time; the message has the condition as it is.
        """
        start = time.monotonic()
        while (found := self.condition(qpu, kind)).get("status") != status:
            if time.monotonic() - start > seconds:
                raise ClusterError(f"{qpu} is not {kind}={status} after {seconds:g} s: {found}")
            time.sleep(0.1)
        return time.monotonic() - start

    def authority(self) -> str:
        """Reads who signed the gateway's certificate, PEM in base64."""
        secret = json.loads(self.kubectl("get", "secret", TLS_SECRET, "--output=json"))
        return str(secret["data"]["ca.crt"])

    def drive_fake(self, **state: object) -> None:
        """Writes the control file of `fake-fez`, which its values have to name."""
        script = f"printf %s '{json.dumps(state)}' > /tmp/new && mv /tmp/new /tmp/control.json"
        self.kubectl("exec", GATEWAY_POD, "--", "sh", "-c", script)

    def uninstall(self) -> None:
        """Removes the release.

        Its last Job is made only while Kueue answers, which restarts when its API server was away.
        """
        wait_for_addons(self.testbed)
        self.testbed.helm(
            "uninstall", NAME, f"--namespace={NAMESPACE}", "--ignore-not-found", "--wait"
        )


def find_release(testbed: E2ECluster) -> Release:
    """Builds and loads the chart's images and names them to the chart."""
    gateway, controller = testbed.provide("qpu-gateway"), testbed.provide("admission")
    testbed.provide("deviceplugin")
    testbed.provide("scheduler-extender")
    path, _, tag = gateway.rpartition(":")
    assert controller.endswith(f"/admission:{tag}"), "the images have one registry and tag"
    flags = [f"--set=image.tag={tag}"]
    if registry := path.removesuffix("kubeqpu/qpu-gateway").rstrip("/"):
        flags.append(f"--set=image.registry={registry}")
    if testbed.own is not None:
        testbed.own.load("kube-scheduler")
        name, _, tag = testbed.own.images.program("kube-scheduler").reference.rpartition(":")
        flags.append(f"--set=scheduler.image.registry=,scheduler.image.repository={name}")
        flags.append(f"--set-string=scheduler.image.tag={tag}")
    return Release(testbed, tuple(flags))


@contextmanager
def released(testbed: E2ECluster) -> Iterator[Release]:
    """Gives a release that is not installed yet, in a namespace that enforces `restricted`."""
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    metadata = {"name": NAMESPACE, "labels": labels}
    apply(testbed, {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
    found = find_release(testbed)
    yield found
    found.uninstall()
    # The definitions stay, as in a cluster that installs it again.
    kinds = ",".join(kind.resource.name for kind in api.OBJECTS)
    testbed.kubectl("delete", kinds, "--all", "--all-namespaces")
    testbed.kubectl("delete", "namespace", NAMESPACE, "--wait=true", seconds=120)
    made = f"namespace/{NAME}-device-plugin"
    testbed.kubectl("wait", "--for=delete", made, "--timeout=90s", seconds=120)


class Tenant:
    """A namespace whose pod calls the gateway from another node.

    Args:
        release: What it calls.
        name: The namespace, made by the caller.
        image: An image with kubeqpu's client.
    """

    def __init__(self, release: Release, name: str, image: str) -> None:
        self.name = name
        self._testbed = release.testbed
        apply(self._testbed, *_caller(name, image, release.authority()))
        self._kubectl("wait", "--for=condition=Ready", "pod/caller", "--timeout=120s")

    def permit(self, role: str = "kubeqpu-user") -> None:
        """Lets the namespace's accounts use QPUs."""
        self._kubectl(
            "create", "rolebinding", role, f"--clusterrole={role}",
            f"--serviceaccount={self.name}:default",
        )  # fmt: skip

    def submit(self, qpu: str, *, jobs: int = 1, entries: int = 1) -> list[str]:
        """Submits jobs of Bell pairs, 1000 shots an entry, and returns their ids at once.

        Raises:
            ClusterError: If the gateway refuses; the message has what it said.
        """
        found: list[str] = json.loads(
            self._call(SUBMIT.format(jobs=jobs, entries=entries, qpu=qpu))
        )
        return found

    def read(self, ids: Sequence[str]) -> dict[str, list[dict[str, int]]]:
        """Waits for jobs and returns their counts by job and entry; keys are outcomes.

        Raises:
            ClusterError: If the gateway refuses; the message has what it said.
        """
        found: dict[str, list[dict[str, int]]] = json.loads(self._call(READ.format(ids=list(ids))))
        return found

    def _call(self, script: str) -> str:
        """Runs Python in the pod, with the client's settings in its environment."""
        return self._kubectl("exec", "caller", "--stdin", "--", "python", "-", text=script)

    def _kubectl(self, *arguments: str, text: str | None = None) -> str:
        return self._testbed.kubectl(f"--namespace={self.name}", *arguments, text=text)


def _caller(namespace: str, image: str, authority: str) -> list[dict[str, Any]]:
    token = {"audience": AUDIENCE, "expirationSeconds": 3600, "path": "token"}
    sources = [
        {"serviceAccountToken": token},
        {"secret": {"name": AUTHORITY, "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
    ]
    container = {
        "name": "caller",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["sleep", "infinity"],
        "env": [{"name": "KUBEQPU_GATEWAY", "value": ADDRESS}],
        "securityContext": RESTRICTED,
        "volumeMounts": [
            {"name": "tmp", "mountPath": "/tmp"},
            {"name": "kubeqpu", "mountPath": "/var/run/secrets/kubeqpu.io"},
        ],
    }
    elsewhere = {
        "labelSelector": {"matchLabels": {"kubeqpu.io/serves": "gateway"}},
        "namespaces": [NAMESPACE],
        "topologyKey": "kubernetes.io/hostname",
    }
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "caller", "namespace": namespace},
        "spec": {
            "affinity": {
                "podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [elsewhere]}
            },
            "containers": [container],
            "terminationGracePeriodSeconds": 0,
            "volumes": [
                {"name": "tmp", "emptyDir": {}},
                {"name": "kubeqpu", "projected": {"sources": sources}},
            ],
        },
    }
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": AUTHORITY, "namespace": namespace},
        "data": {"ca.crt": authority},
    }
    return [secret, pod]
