"""Many pods that ask for slots, and what a watcher sees of them."""

import base64
import contextlib
import itertools
import json
import subprocess
import threading
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.e2e.release import AUDIENCE
from tests.e2e.slots import CAPACITY, CPU, OTHER, QPU, Slots, sum_allocatable
from tests.e2e.testbed import apply, read

SAMPLE_SECONDS = 0.5
LIGHT_PODS, CPU_PODS, CIRCUIT_PODS = 150, 25, 25
PODS = LIGHT_PODS + CPU_PODS + CIRCUIT_PODS
# The nodes share one kernel, and so one clock.
LIGHT = (
    "read begin rest < /proc/uptime; sleep $((1 + RANDOM % 3)); read end rest < /proc/uptime; "
    'printf \'{"qpu":"%s","slot":"%s","begin":%s,"end":%s}\' '
    '"$KUBEQPU_QPU" "$KUBEQPU_SLOT" $begin $end > /dev/termination-log'
)
CIRCUITS = f"""
import time
begin = time.clock_gettime(time.CLOCK_BOOTTIME)
import json, os
from qiskit import QuantumCircuit
from kubeqpu.client import (
    AccessDeniedError, GatewayClient, Options, SamplerEntry, SamplerJob, circuits_to_qpy,
)
bell = QuantumCircuit(2)
bell.h(0)
bell.cx(0, 1)
bell.measure_all()
qpu, refused = os.environ["KUBEQPU_QPU"], False
def make(name):
    return SamplerJob(
        circuits=circuits_to_qpy([bell]), entries=[SamplerEntry(shots=100)], qpu=name,
        options=Options(transpile_level=1),
    )
with GatewayClient(patience_seconds=120) as client:
    (entry,) = client.submit(make(qpu)).result(timeout_seconds=120).entries
    try:
        client.submit(make({OTHER!r}[qpu]))
    except AccessDeniedError:
        refused = True
found = dict(
    qpu=qpu, slot=os.environ["KUBEQPU_SLOT"], begin=begin, refused=refused,
    shots=int(entry.counts.shots.sum()), ran_on=[found.qpu for _, found in entry.executions],
    end=time.clock_gettime(time.CLOCK_BOOTTIME),
)
with open("/dev/termination-log", "w") as file:
    json.dump(found, file)
"""
# Reasons that the kubelet itself gives: for pods that it cannot admit, and for containers that an
# earlier kubelet made and died before it started them.
REJECTED = ("UnexpectedAdmissionError", "OutOfkubeqpu.io/", "StartError")


@dataclass
class Seen:
    """What a watcher saw.

    Attributes:
        samples: How often it looked.
        most: Most slots on nodes that are Ready, by resource.
        least: Fewest.
        most_running: Most pods running at once, by resource.
    """

    samples: int = 0
    most: dict[str, int] = field(default_factory=lambda: dict.fromkeys(CAPACITY, 0))
    least: dict[str, int] = field(default_factory=lambda: dict(CAPACITY))
    most_running: dict[str, int] = field(default_factory=lambda: dict.fromkeys(CAPACITY, 0))


@contextlib.contextmanager
def watching(slots: Slots) -> Iterator[Seen]:
    """Looks at nodes and pods from time to time, and checks that there are never too many."""
    seen, over, errors = Seen(), threading.Event(), list[Exception]()
    with proxied(slots) as url:

        def watch() -> None:
            while not over.wait(SAMPLE_SECONDS):
                try:
                    _look(url, seen)
                except (OSError, AssertionError) as error:
                    errors.append(error)

        thread = threading.Thread(target=watch)
        thread.start()
        try:
            yield seen
        finally:
            over.set()
            thread.join()
    if errors:
        raise errors[0]


def _look(url: str, seen: Seen) -> None:
    allocatable = sum_allocatable(_get(f"{url}/api/v1/nodes"))
    running = Counter(
        resource
        for pod in _get(f"{url}/api/v1/pods?fieldSelector=status.phase%3DRunning")
        for container in pod["spec"]["containers"]
        for resource in container.get("resources", {}).get("limits", {})
    )
    seen.samples += 1
    for resource, capacity in CAPACITY.items():
        assert allocatable[resource] <= capacity, f"{allocatable} on nodes, {CAPACITY} exist"
        assert running[resource] <= capacity, f"{running} pods run, {CAPACITY} slots exist"
        seen.most[resource] = max(seen.most[resource], allocatable[resource])
        seen.least[resource] = min(seen.least[resource], allocatable[resource])
        seen.most_running[resource] = max(seen.most_running[resource], running[resource])


def _get(url: str) -> list[dict[str, Any]]:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return list(json.load(answer)["items"])


@contextlib.contextmanager
def proxied(slots: Slots) -> Iterator[str]:
    """Gives the API server's address without a need for certificates."""
    program = str(slots.cluster.layout.bin / "kubectl")
    command = [program, f"--kubeconfig={slots.testbed.kubeconfig}", "proxy", "--port=0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            address = process.stdout.readline().strip().rpartition(" ")[2]
            yield f"http://{address}"
        finally:
            process.terminate()


def make_churn(slots: Slots, namespace: str) -> list[dict[str, Any]]:
    """Makes the Jobs of a churn: light pods of both resources, and pods that run circuits."""
    authority = base64.b64decode(slots.release.authority()).decode()
    metadata = {"name": "kubeqpu-ca", "namespace": namespace}
    config_map = {"kind": "ConfigMap", "metadata": metadata, "data": {"ca.crt": authority}}
    apply(slots.testbed, {"apiVersion": "v1", **config_map})
    circuits = {
        "image": slots.testbed.provide("cutting"),
        "command": ["python", "-c", CIRCUITS],
        "volumeMounts": [{"name": "kubeqpu", "mountPath": "/var/run/secrets/kubeqpu.io"}],
    }
    return [
        make_light(slots, namespace, "light", QPU, LIGHT_PODS, LIGHT_PODS),
        make_light(slots, namespace, "cpu", CPU, CPU_PODS, CPU_PODS),
        make_job(namespace, "circuits", circuits, QPU, CIRCUIT_PODS, 6),
    ]


def make_light(
    slots: Slots, namespace: str, name: str, resource: str, completions: int, parallelism: int
) -> dict[str, Any]:
    """Makes a Job whose pods hold a slot for a moment."""
    light = {"image": slots.busybox, "command": ["sh", "-c", LIGHT]}
    return make_job(namespace, name, light, resource, completions, parallelism)


def make_job(
    namespace: str,
    name: str,
    container: dict[str, Any],
    resource: str,
    completions: int,
    parallelism: int,
) -> dict[str, Any]:
    """Makes a Job whose pods ask for a slot each; it replaces those that are rejected."""
    main = {
        "name": "main",
        "imagePullPolicy": "IfNotPresent",
        "resources": {"limits": {resource: 1}},
        **container,
    }
    token = {"audience": AUDIENCE, "path": "token"}
    sources = [{"serviceAccountToken": token}, {"configMap": {"name": "kubeqpu-ca"}}]
    spec: dict[str, Any] = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 0,
        "containers": [main],
    }
    if "volumeMounts" in container:
        spec["volumes"] = [{"name": "kubeqpu", "projected": {"sources": sources}}]
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "completions": completions,
            "parallelism": parallelism,
            "backoffLimit": 10_000,
            "template": {"metadata": {"labels": {"churn": name}}, "spec": spec},
        },
    }


@dataclass(frozen=True)
class Ended:
    """What became of pods.

    Attributes:
        told: What those that succeeded wrote.
        rejected: How many the kubelet let fail, by its reason.
        failed: All others.
    """

    told: Sequence[dict[str, Any]]
    rejected: Counter[str]
    failed: Sequence[str]


def read_ended(slots: Slots, namespace: str) -> Ended:
    """Reads what became of the pods of all Jobs of a namespace."""
    told, rejected, failed = [], Counter[str](), []
    for pod in read(slots.testbed, "pods", f"--namespace={namespace}", "--selector=churn")["items"]:
        status = pod["status"]
        containers = status.get("containerStatuses", [{}])
        terminated = containers[0].get("state", {}).get("terminated", {})
        reason = status.get("reason") or terminated.get("reason", "")
        if status["phase"] == "Succeeded":
            told.append(json.loads(terminated["message"]))
        elif status["phase"] == "Failed" and reason.startswith(REJECTED):
            rejected[reason] += 1
        else:
            failed.append(f"{pod['metadata']['name']}: {status}"[:2000])
    return Ended(told, rejected, failed)


def find_shared(told: Sequence[dict[str, Any]]) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Finds pods that held one slot at one time."""
    ordered = sorted(told, key=lambda pod: (pod["slot"], pod["begin"]))
    return [
        (one, next_one)
        for one, next_one in itertools.pairwise(ordered)
        if one["slot"] == next_one["slot"] and one["end"] > next_one["begin"]
    ]
