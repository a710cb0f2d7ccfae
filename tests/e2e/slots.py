"""A release whose slots are on both nodes, pods that hold them, and who calls the gateway."""

import base64
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import grpc
from qiskit import QuantumCircuit

from kubeqpu.client import Options, SamplerEntry, SamplerJob, circuits_to_qpy, wire
from kubeqpu.proto.v1 import gateway_pb2_grpc, slots_pb2, slots_pb2_grpc
from tests.cluster.cluster import Cluster
from tests.cluster.errors import ClusterError
from tests.cluster.shell import wait_until
from tests.e2e.release import AUDIENCE, GATEWAY_POD, NAMESPACE, Release
from tests.e2e.testbed import E2ECluster, apply, read

QPU, CPU = "kubeqpu.io/qpu", "kubeqpu.io/cpu-simulator"
SLOTS = {"fake-fez": 6, "fake-torino": 6, "aer": 4}
RESOURCES = {"fake-fez": QPU, "fake-torino": QPU, "aer": CPU}
CAPACITY = {QPU: 12, CPU: 4}
OTHER = {"fake-fez": "fake-torino", "fake-torino": "fake-fez", "aer": "fake-fez"}
PLUGIN = "kubeqpu-device-plugin"
STATEFUL_SET = GATEWAY_POD.removesuffix("-0")
_REPORT_SECONDS = 15.0
# Until a device plugin is connected to a gateway that has just started.
_UNCERTAIN_SECONDS = 30.0
DENIED, UNAVAILABLE = grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAVAILABLE

_FAKE = {"provider": "fake", "slots": 6, "slotPlacement": "Spread"}
_QPUS = {
    name: {
        **_FAKE,
        "options": {
            "backend": "FakeFez",
            "num_qubits": 5,
            "control_file": f"/tmp/{name}.json",
        },
    }
    for name in ("fake-fez", "fake-torino")
}
VALUES = (
    f"--set-json=gateways.default.qpus={json.dumps(_QPUS)}",
    f"--set=gateways.default.qpus.aer.slots={SLOTS['aer']}",
)
HOLD = 'echo "$KUBEQPU_QPU $KUBEQPU_SLOT"; while [ ! -e /end ]; do sleep 0.1; done'


@dataclass(frozen=True)
class Slots:
    """The slots of a release.

    Attributes:
        release: The release.
        cluster: Its cluster, which tests break.
        busybox: An image with a shell.
    """

    release: Release
    cluster: Cluster
    busybox: str

    @property
    def testbed(self) -> E2ECluster:
        return self.release.testbed

    def allocatable(self, node: str | None = None) -> dict[str, int]:
        """Sums up the slots that nodes which are Ready can give to pods; or those of one node."""
        found = read(self.testbed, "nodes")["items"]
        if node is not None:
            found = [item for item in found if item["metadata"]["name"] == node]
        return sum_allocatable(found)

    def shares(self, qpu: str) -> dict[str, tuple[int, int]]:
        """Reads a QPU's slots by node: all of them, and those held."""
        status = read(self.testbed, "qpu", qpu)["status"]
        return {row["name"]: (row["slots"], row.get("held", 0)) for row in status.get("nodes", ())}

    def are_all_free(self) -> bool:
        """Tells whether every slot is on a node and held by nobody, and nodes offer them all."""
        shares = [tuple(map(sum, zip(*self.shares(qpu).values(), strict=True))) for qpu in SLOTS]
        wanted = [(count, 0) for count in SLOTS.values()]
        return shares == wanted and self.allocatable() == CAPACITY

    def wait_until_free(self, seconds: float = 60) -> float:
        """Waits until all slots are free; returns the seconds that took."""
        return timed(self.are_all_free, "all slots to be free", seconds)

    def drive(self, qpu: str, **state: object) -> None:
        """Writes the control file of a fake QPU."""
        file = f"/tmp/{qpu}.json"
        script = f"printf %s '{json.dumps(state)}' > {file}.new && mv {file}.new {file}"
        self.release.kubectl("exec", GATEWAY_POD, "--", "sh", "-c", script)

    def plugin_pod(self, node: str) -> dict[str, Any]:
        """Reads the device plugin's pod on a node."""
        found = read(
            self.testbed, "pods", f"--namespace={PLUGIN}", f"--field-selector=spec.nodeName={node}"
        )["items"]
        (pod,) = [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]
        return dict(pod)

    def token(self, namespace: str, pod: dict[str, Any]) -> str:
        """Asks for a token of a pod, as the kubelet does for its volumes."""
        account = pod["spec"]["serviceAccountName"]
        return self.testbed.kubectl(
            f"--namespace={namespace}", "create", "token", account, f"--audience={AUDIENCE}",
            "--bound-object-kind=Pod", f"--bound-object-name={pod['metadata']['name']}",
            f"--bound-object-uid={pod['metadata']['uid']}",
        ).strip()  # fmt: skip


def sum_allocatable(nodes: list[dict[str, Any]]) -> dict[str, int]:
    """Sums up the slots that nodes which are Ready can give to pods."""
    total = dict.fromkeys(CAPACITY, 0)
    for node in nodes:
        conditions = {item["type"]: item["status"] for item in node["status"]["conditions"]}
        if conditions.get("Ready") == "True":
            for resource in total:
                total[resource] += int(node["status"].get("allocatable", {}).get(resource, 0))
    return total


def timed(condition: Callable[[], bool], what: str, seconds: float) -> float:
    """Waits for a condition; returns the seconds that took."""
    began = time.monotonic()
    wait_until(condition, what, seconds=seconds, every=0.25)
    return time.monotonic() - began


@dataclass
class Holder:
    """A pod that holds a slot until it is told to end.

    Attributes:
        slots: The release's slots.
        namespace: Its namespace.
        name: Its name.
        resource: What it asks for; empty for no slot.
    """

    slots: Slots
    namespace: str
    name: str
    resource: str = QPU
    qpu: str = field(default="", init=False)
    slot: str = field(default="", init=False)

    def start(self, node: str | None = None) -> None:
        """Makes the pod and waits until it says what it holds."""
        container = {
            "name": "main",
            "image": self.slots.busybox,
            "imagePullPolicy": "IfNotPresent",
            "command": ["sh", "-c", HOLD],
            "resources": {"limits": {self.resource: 1} if self.resource else {}},
        }
        metadata = {"name": self.name, "namespace": self.namespace}
        spec = {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 0,
            "containers": [container],
            "nodeSelector": {"kubernetes.io/hostname": node} if node else {},
        }
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
        apply(self.slots.testbed, pod)
        self._kubectl("wait", "--for=condition=Ready", f"pod/{self.name}", "--timeout=60s")
        wait_until(lambda: bool(self._kubectl("logs", self.name)), "its words", seconds=10)
        self.qpu, _, self.slot = self._kubectl("logs", self.name).strip().partition(" ")

    def read(self) -> dict[str, Any]:
        """Reads the pod."""
        return read(self.slots.testbed, "pod", self.name, f"--namespace={self.namespace}")

    def token(self) -> str:
        """Asks for a token of it."""
        return self.slots.token(self.namespace, self.read())

    def is_undisturbed(self) -> bool:
        """Tells whether its first container runs."""
        (status,) = self.read()["status"]["containerStatuses"]
        return "running" in status["state"] and status["restartCount"] == 0

    def end(self) -> None:
        """Lets it end, and waits until the API server knows that it succeeded."""
        self._kubectl("exec", self.name, "--", "touch", "/end")
        wait_until(
            lambda: self.read()["status"]["phase"] == "Succeeded", "the pod's end", seconds=20
        )

    def delete(self) -> None:
        """Deletes it by force, its node being alive or not."""
        flags = ("--force", "--grace-period=0", "--ignore-not-found")
        self._kubectl("delete", "pod", self.name, *flags)

    def _kubectl(self, *arguments: str) -> str:
        return self.slots.testbed.kubectl(f"--namespace={self.namespace}", *arguments)


class Caller:
    """Calls the gateway's pod with any token, from outside of pods.

    Args:
        release: The release.
    """

    def __init__(self, release: Release) -> None:
        self._release = release
        self._authority = base64.b64decode(release.authority())
        bell = QuantumCircuit(2)
        bell.h(0)
        bell.cx(0, 1)
        bell.measure_all()
        self._circuits = circuits_to_qpy([bell])

    def submit(self, token: str, qpu: str, *, entries: int = 1) -> str:
        """Submits a job of Bell pairs; returns its id.

        Raises:
            grpc.RpcError: If the gateway refuses.
        """
        job = SamplerJob(
            circuits=self._circuits, entries=[SamplerEntry(shots=100)] * entries, qpu=qpu,
            seed=1, options=Options(transpile_level=1),
        )  # fmt: skip
        with self._channel() as channel:
            stub = gateway_pb2_grpc.GatewayStub(channel)
            answer = stub.SubmitJob(
                wire.write_submission(job, None, None), metadata=_bearer(token), timeout=30
            )
        return str(answer.id)

    def may_use(self, token: str, qpu: str) -> bool:
        """Tells whether a token is good for a QPU.

        As our client does, it asks again while the gateway cannot know, such as after a restart.

        Raises:
            grpc.RpcError: If the gateway answers anything but a job or a refusal.
        """
        ends_at = time.monotonic() + _UNCERTAIN_SECONDS
        while True:
            try:
                self.submit(token, qpu)
            except grpc.RpcError as error:
                if error.code() is DENIED:
                    return False
                if error.code() is not UNAVAILABLE or time.monotonic() > ends_at:
                    raise
                time.sleep(0.5)
            else:
                return True

    def sync(self, token: str, node: str, holders: Mapping[str, str]) -> slots_pb2.SyncResponse:
        """Reports holders, pods of the default namespace by slot; returns the first answer.

        Raises:
            grpc.RpcError: If the gateway refuses.
        """
        lines = [
            slots_pb2.Holder(slot=slot, namespace="default", pod=pod)
            for slot, pod in holders.items()
        ]
        request = slots_pb2.SyncRequest(node=node, holders=lines)
        with self._channel() as channel:
            stub = slots_pb2_grpc.SlotsStub(channel)
            answered = threading.Event()

            def report() -> Iterator[slots_pb2.SyncRequest]:
                yield request
                # A report that ends ends the stream.
                answered.wait(_REPORT_SECONDS)

            try:
                answers = stub.Sync(report(), metadata=_bearer(token), timeout=_REPORT_SECONDS)
                found = next(answers)
            finally:
                answered.set()
            assert isinstance(found, slots_pb2.SyncResponse)
            return found

    def _channel(self) -> grpc.Channel:
        pod = read(self._release.testbed, "pod", GATEWAY_POD, f"--namespace={NAMESPACE}")
        address = pod["status"].get("podIP")
        if not address:
            raise ClusterError("the gateway's pod has no address yet")
        # Its certificate is for names.
        options = (("grpc.ssl_target_name_override", "localhost"),)
        credentials = grpc.ssl_channel_credentials(self._authority)
        return grpc.secure_channel(f"{address}:7070", credentials, options=options)


def _bearer(token: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {token}"),)
