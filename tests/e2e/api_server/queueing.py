"""Queues of Kueue, QPUs and Jobs on a real API server, for tests of the quota pool."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

from kubernetes.aio import client, config

from kubeqpu.common import api
from kubeqpu.kube.objects import ObjectsAPI
from kubeqpu.kube.resources import QPUS, Manifest
from tests.e2e.api_server.server import APIServer

Object = dict[str, Any]
QPU, CPU = "kubeqpu.io/qpu", "kubeqpu.io/cpu-simulator"
API_VERSION = "kueue.x-k8s.io/v1beta2"
FAIR = {"preemptionStrategies": ["LessThanOrEqualToFinalShare", "LessThanInitialShare"]}


def make(kind: str, name: str, spec: Object, api_version: str = API_VERSION) -> Object:
    """Makes an object without a namespace."""
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": name}, "spec": spec}


def make_queue(name: str, cohort: str, flavors: tuple[str, ...], *resources: str) -> Object:
    """Makes a ClusterQueue with CPU of its own, that borrows all slots."""
    quotas = [{"name": resource, "nominalQuota": "0"} for resource in resources]
    cpu = [{"name": "cpu", "nominalQuota": "100"}]
    return make("ClusterQueue", name, {
        "cohortName": cohort,
        "namespaceSelector": {},
        "preemption": {"reclaimWithinCohort": "Any"},
        "resourceGroups": [
            {"coveredResources": ["cpu"], "flavors": [{"name": "default", "resources": cpu}]},
            {
                "coveredResources": list(resources),
                "flavors": [{"name": flavor, "resources": quotas} for flavor in flavors],
            },
        ],
    })  # fmt: skip


def make_local_queue(name: str, namespace: str) -> Object:
    """Makes the LocalQueue of a ClusterQueue of the same name."""
    made = make("LocalQueue", name, {"clusterQueue": name})
    made["metadata"]["namespace"] = namespace
    return made


def make_node(name: str, **labels: str) -> Object:
    """Makes a Node without a kubelet."""
    made = make("Node", name, {"unschedulable": True}, "v1")
    made["metadata"]["labels"] = labels
    return made


def make_job(name: str, namespace: str, queue: str, resource: str = QPU) -> Object:
    """Makes a Job that wants one slot."""
    container = {
        "name": "main",
        "image": "example",
        "resources": {"requests": {"cpu": "10m"}, "limits": {resource: "1"}},
    }
    made = make("Job", name, {
        "suspend": True,
        "backoffLimit": 0,
        "template": {"spec": {"restartPolicy": "Never", "containers": [container]}},
    }, "batch/v1")  # fmt: skip
    labels = {"kueue.x-k8s.io/queue-name": queue}
    made["metadata"] = {"name": name, "namespace": namespace, "labels": labels}
    return made


def make_qpu(name: str, slots: int, resource: str = QPU) -> Object:
    """Makes a QPU without a status."""
    spec = {"provider": "fake", "simulator": True, "resourceName": resource, "slots": slots}
    return make("QPU", name, spec, api.API_VERSION)


def make_status(name: str, nodes: dict[str, tuple[int, int]], ready: bool = True) -> Manifest:
    """Makes a QPU's status, with slots and held ones by node."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    status = "True" if ready else "False"
    return {
        "apiVersion": api.API_VERSION,
        "kind": "QPU",
        "metadata": {"name": name},
        "status": {
            "numQubits": 20,
            "conditions": [
                {"type": kind, "status": status, "reason": "Said", "message": "",
                 "lastTransitionTime": now}
                for kind in ("Ready", "Accepting")
            ],
            "nodes": [
                {"name": node, "slots": slots, "held": held}
                for node, (slots, held) in nodes.items()
            ],
        },
    }  # fmt: skip


def with_objects(server: APIServer, act: Callable[[ObjectsAPI], Awaitable[None]]) -> None:
    """Does something with a client of the API server, as a gateway would."""

    async def run() -> None:
        configuration = client.Configuration()
        path = str(server.cluster.kubeconfig)
        await config.load_kube_config(path, client_configuration=configuration)
        async with client.ApiClient(configuration) as api_client:
            await act(ObjectsAPI(api_client, "kubeqpu-gateway"))

    asyncio.run(run())


def report(
    server: APIServer, name: str, nodes: dict[str, tuple[int, int]], ready: bool = True
) -> None:
    """Writes a QPU's status."""

    async def write(objects: ObjectsAPI) -> None:
        await objects.apply_status(QPUS, make_status(name, nodes, ready))

    with_objects(server, write)


def shake(server: APIServer, names: tuple[str, ...], events: int, seed: int) -> None:
    """Has QPUs come and go, and their slots move between nodes."""
    source = random.Random(seed)

    async def write(objects: ObjectsAPI) -> None:
        for _ in range(events):
            nodes = {
                node: (source.randint(0, 3), source.randint(0, 2))
                for node in ("n1", "n2", "n3")
                if source.random() < 0.7
            }
            name, ready = source.choice(names), source.random() < 0.6
            await objects.apply_status(QPUS, make_status(name, nodes, ready))
            await asyncio.sleep(0.02)

    with_objects(server, write)


def quotas(server: APIServer) -> dict[str, int]:
    """The Cohort's quotas of QPU slots, by flavor."""
    found = server.get("cohorts.kueue.x-k8s.io", "kubeqpu")
    return {
        flavor["name"]: int(one["nominalQuota"])
        for group in found["spec"].get("resourceGroups", [])
        for flavor in group["flavors"]
        for one in flavor["resources"]
        if one["name"] == QPU
    }


def admitted(server: APIServer, namespace: str) -> set[str]:
    """The Jobs that Kueue lets run."""
    found = server.get("jobs", f"--namespace={namespace}")
    return {one["metadata"]["name"] for one in found["items"] if not one["spec"]["suspend"]}


def without_status(found: Object) -> Object:
    """What an admin wrote of an object, with who wrote it; its status is Kueue's."""
    kept = {key: value for key, value in found.items() if key != "status"}
    fields = [
        one
        for one in found["metadata"].get("managedFields", [])
        if one.get("subresource") != "status"
    ]
    metadata = {key: value for key, value in found["metadata"].items() if key != "resourceVersion"}
    return {**kept, "metadata": {**metadata, "managedFields": fields}}
