"""A fake QPU on each of three nodes, pods that `kubeqpu-scheduler` places, and what is seen."""

import json
import socket
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from http.client import HTTPConnection, HTTPException
from typing import Any
from urllib.parse import urlsplit

from kubeqpu.common import api
from kubeqpu.common.names import ANNOTATION_CLASS, ANNOTATION_PLACEMENT, SCHEDULER
from tests.cluster.shell import wait_until
from tests.e2e.release import GATEWAY_POD
from tests.e2e.slots import QPU, Slots
from tests.e2e.testbed import apply

SLOTS = 6
# A QPU of their own for each node. One and the same device: only what tests make of it differs.
NODE_OF = {"fake-fez": "node-1", "fake-torino": "node-2", "fake-marrakesh": "node-3"}
FEZ, TORINO, MARRAKESH = NODE_OF
_QPUS = {
    name: {
        "provider": "fake",
        "slots": SLOTS,
        "slotPlacement": "Spread",
        "slotNodeSelector": {"kubernetes.io/hostname": node},
        "options": {"backend": "FakeFez", "num_qubits": 5, "control_file": f"/tmp/{name}.json"},
    }
    for name, node in NODE_OF.items()
}
# The third node has no image but the device plugin's.
_ON_FIRST_NODES = {
    "nodeAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": {
            "nodeSelectorTerms": [
                {
                    "matchExpressions": [
                        {
                            "key": "kubernetes.io/hostname",
                            "operator": "In",
                            "values": ["node-1", "node-2"],
                        }
                    ]
                }
            ]
        }
    }
}
VALUES = (
    f"--set-json=gateways.default.qpus={json.dumps(_QPUS)}",
    f"--set-json=scheduler.affinity={json.dumps(_ON_FIRST_NODES)}",
)
HOLD = "sleep 600"


@dataclass(frozen=True)
class Seen:
    """An object as a watch told it.

    Attributes:
        at: When, as seconds since 1970; processes of the cluster have the same clock.
        object: The object.
    """

    at: float
    object: dict[str, Any]


def make_state(wait: float = 0, errors: float = 1, outage: str = "") -> dict[str, Any]:
    """Makes what a fake QPU is told to be, calibrated right now.

    Args:
        wait: Seconds that its vendor's queue takes.
        errors: Multiplies its errors of two-qubit gates.
        outage: Why it is away; empty if it is not.
    """
    return {
        "queue": {"pending": int(wait > 0), "service_seconds": wait},
        "outage": outage or False,
        "calibration": {"scale_two_qubit": errors, "time": datetime.now(UTC).isoformat()},
    }


@dataclass(frozen=True)
class Placing:
    """What tests of placement do with a release.

    Attributes:
        slots: The release, its cluster, and an image with a shell.
        url: The API server, without a need for certificates.
    """

    slots: Slots
    url: str

    def get(self, path: str) -> dict[str, Any]:
        """Reads from the API server."""
        with urllib.request.urlopen(f"{self.url}{path}", timeout=10) as answer:
            found: dict[str, Any] = json.load(answer)
            return found

    def drive(self, states: Mapping[str, dict[str, Any]]) -> None:
        """Tells QPUs what to be, all at once."""
        script = ""
        for name, state in states.items():
            file = f"/tmp/{name}.json"
            script += f"printf %s '{json.dumps(state)}' > {file}.new && mv {file}.new {file};"
        self.slots.release.kubectl("exec", GATEWAY_POD, "--", "sh", "-c", script)

    def settle(self, states: Mapping[str, dict[str, Any]]) -> None:
        """Tells QPUs what to be, and waits until objects say so and all slots are free."""
        self.drive(states)

        def told() -> bool:
            found, nodes = self.qpus(), self.get("/api/v1/nodes")["items"]
            return (
                all(_is(found[name], state) for name, state in states.items())
                and all(share == (SLOTS, 0) for share in map(share_of, found.values()))
                and all(node["status"]["allocatable"].get(QPU) == str(SLOTS) for node in nodes)
            )

        wait_until(told, "the QPUs to be as they were told, their slots free", seconds=60)

    def qpus(self) -> dict[str, api.QPU]:
        """Reads the three QPUs by name."""
        items = self.get(f"/apis/{api.API_VERSION}/qpus")["items"]
        found = {item["metadata"]["name"]: api.QPU.from_manifest(item) for item in items}
        return {name: found[name] for name in NODE_OF}

    def make_class(self, name: str, **spec: dict[str, Any]) -> None:
        """Makes a class."""
        head = {"apiVersion": api.API_VERSION, "kind": "QPUClass", "metadata": {"name": name}}
        apply(self.slots.testbed, {**head, "spec": spec})

    def create(
        self, namespace: str, *names: str, class_name: str = "", script: str = "true", **spec: Any
    ) -> None:
        """Creates pods that ask for a slot."""
        for name in names:
            pod = self._make_pod(namespace, name, class_name, script, spec)
            request = urllib.request.Request(
                f"{self.url}/api/v1/namespaces/{namespace}/pods", json.dumps(pod).encode(),
                {"Content-Type": "application/json"},
            )  # fmt: skip
            with urllib.request.urlopen(request, timeout=10):
                pass

    def _make_pod(
        self, namespace: str, name: str, class_name: str, script: str, spec: dict[str, Any]
    ) -> dict[str, Any]:
        container = {
            "name": "main",
            "image": self.slots.busybox,
            "imagePullPolicy": "IfNotPresent",
            "command": ["sh", "-c", script],
            "resources": {"limits": {QPU: "1"}},
        }
        metadata: dict[str, Any] = {"name": name, "namespace": namespace}
        if class_name:
            metadata["annotations"] = {ANNOTATION_CLASS: class_name}
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": metadata,
            "spec": {
                "schedulerName": SCHEDULER,
                "restartPolicy": "Never",
                "terminationGracePeriodSeconds": 0,
                "containers": [container],
                **spec,
            },
        }

    def pods(self, namespace: str) -> dict[str, dict[str, Any]]:
        """Reads pods by name."""
        items = self.get(f"/api/v1/namespaces/{namespace}/pods")["items"]
        return {item["metadata"]["name"]: item for item in items}

    def wait_for_nodes(self, namespace: str, seconds: float) -> dict[str, dict[str, Any]]:
        """Waits until every pod has a node; returns the pods by name."""
        wait_until(
            lambda: all("nodeName" in pod["spec"] for pod in self.pods(namespace).values()),
            "every pod to be placed", seconds=seconds,
        )  # fmt: skip
        return self.pods(namespace)

    def wait_for_placements(self, namespace: str, seconds: float) -> dict[str, dict[str, Any]]:
        """Waits until every pod has a node and says why; returns the pods by name."""
        self.wait_for_nodes(namespace, seconds)
        wait_until(
            lambda: all(map(is_explained, self.pods(namespace).values())),
            "every pod to be explained", seconds=seconds,
        )  # fmt: skip
        return self.pods(namespace)

    def count_events(self, namespace: str, reason: str) -> Counter[str]:
        """Counts Events of one reason by pod, each as often as it came."""
        found = Counter[str]()
        selector = f"fieldSelector=reason%3D{reason}"
        for event in self.get(f"/api/v1/namespaces/{namespace}/events?{selector}")["items"]:
            times = max(event.get("count") or 1, (event.get("series") or {}).get("count", 1))
            found[event["involvedObject"]["name"]] += times
        return found


def _is(qpu: api.QPU, state: dict[str, Any]) -> bool:
    plain = api.plain_qpu(qpu)
    if state["outage"]:
        return not plain.is_true("Ready")
    taken = datetime.fromisoformat(state["calibration"]["time"])
    waits = plain.queue.estimated_wait_seconds == state["queue"]["service_seconds"]
    return bool(
        plain.is_true("Ready") and waits and plain.calibration
        and abs((plain.calibration.time - taken).total_seconds()) < 1
    )  # fmt: skip


def share_of(qpu: api.QPU) -> tuple[int, int]:
    """Counts a QPU's slots on nodes, all and held."""
    nodes = qpu.status.nodes
    return sum(node.slots for node in nodes), sum(node.held for node in nodes)


def quality_of(qpu: api.QPU) -> tuple[bool, float]:
    """Tells what makes a QPU worse: whether it is Ready, and its error of two-qubit gates."""
    plain = api.plain_qpu(qpu)
    return (
        plain.is_true("Ready"),
        plain.calibration.median_two_qubit_error if plain.calibration else 0.0,
    )


def uid_of(pod: dict[str, Any]) -> str:
    """Reads a pod's uid."""
    return str(pod["metadata"]["uid"])


def is_explained(pod: dict[str, Any]) -> bool:
    """Tells whether a pod says why it is where it is."""
    return ANNOTATION_PLACEMENT in pod["metadata"].get("annotations", {})


def placement_of(pod: dict[str, Any]) -> dict[str, Any]:
    """Reads the explanation on a pod."""
    found: dict[str, Any] = json.loads(pod["metadata"]["annotations"][ANNOTATION_PLACEMENT])
    return found


def decided_at(pod: dict[str, Any]) -> float:
    """Reads when a pod's node was chosen, as seconds since 1970."""
    return datetime.fromisoformat(placement_of(pod)["decidedAt"]).timestamp()


def refusal_of(pod: dict[str, Any]) -> str:
    """Reads why a pod is not placed; empty if nothing was said."""
    conditions = pod["status"].get("conditions", [])
    found = [item for item in conditions if item["type"] == "PodScheduled"]
    return str(found[0].get("message", "")) if found else ""


@contextmanager
def watched(url: str, path: str) -> Iterator[Sequence[Seen]]:
    """Watches objects while the context is open; what it gives grows meanwhile."""
    place = urlsplit(url)
    connection = HTTPConnection(str(place.hostname), place.port)
    connection.request("GET", f"{path}?watch=true")
    answer = connection.getresponse()
    held = connection.sock
    seen: list[Seen] = []

    def follow() -> None:
        try:
            for line in answer:
                event = json.loads(line)
                assert event["type"] != "ERROR", event
                seen.append(Seen(time.time(), event["object"]))
        except (OSError, HTTPException, ValueError):
            return  # over, in the middle of a line

    thread = threading.Thread(target=follow)
    thread.start()
    try:
        yield seen
    finally:
        held.shutdown(socket.SHUT_RDWR)
        thread.join()
        answer.close()
        connection.close()
