"""A real control plane with thousands of Node and QPU objects and no kubelet behind them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial

from kubernetes.aio import client, config
from pydantic import JsonValue

from kubeqpu.common import api, names
from kubeqpu.kube.connection import spare_lookups
from kubeqpu.kube.objects import ObjectsAPI
from kubeqpu.kube.resources import NODES, PODS, QPUS, Manifest, name_of, version_of
from tests.cluster import processes
from tests.cluster.cluster import Cluster
from tests.cluster.controlplane import CONTROLLER_MANAGER, SCHEDULER
from tests.cluster.spec import ClusterSpec
from tools import crds

NAME = "bench-scheduler"
NAMESPACE = "bench"
SLOTS = 8
# Requests under way at once: enough to keep the API server busy, not so many that one times out.
CONCURRENCY = 32


def node_name(number: int) -> str:
    """Gives a node's name."""
    return f"node-{number:05d}"


def qpu_name(number: int) -> str:
    """Gives the name of the QPU that has its slots on the node of the same number."""
    return f"qpu-{number:05d}"


def make_node(number: int, with_slots: bool) -> Manifest:
    """Makes a Node as a kubelet would register it, Ready and empty."""
    name = node_name(number)
    capacity: Manifest = {"cpu": "64", "memory": "256Gi", "pods": "250"}
    labels: Manifest = {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux"}
    if with_slots:
        capacity[names.RESOURCE_QPU] = str(SLOTS)
        labels[names.node_label_of_resource(names.RESOURCE_QPU)] = "true"
        labels[names.node_label_of_qpu(qpu_name(number))] = "true"
    now = datetime.now(UTC).isoformat()
    ready: Manifest = {
        "type": "Ready", "status": "True", "reason": "KubeletReady", "message": "",
        "lastHeartbeatTime": now, "lastTransitionTime": now,
    }  # fmt: skip
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels},
        "status": {"capacity": capacity, "allocatable": dict(capacity), "conditions": [ready]},
    }


def make_qpu(number: int) -> Manifest:
    """Makes a QPU whose wait and errors differ from those of the others."""
    error = 1e-3 * (1 + number % 17)
    now = datetime.now(UTC).isoformat()
    conditions: list[JsonValue] = [
        {"type": kind, "status": "True", "reason": "Good", "message": "", "lastTransitionTime": now}
        for kind in ("Ready", "Accepting", "Calibrated")
    ]
    return {
        "apiVersion": api.API_VERSION,
        "kind": "QPU",
        "metadata": {"name": qpu_name(number)},
        "spec": {"provider": "fake", "resourceName": names.RESOURCE_QPU, "slots": SLOTS},
        "status": {
            "conditions": conditions,
            "numQubits": 127,
            "queue": {"estimatedWaitSeconds": float(number % 97)},
            "calibration": {
                "id": f"calibration-{number}",
                "time": now,
                "medianOneQubitError": error / 10,
                "medianTwoQubitError": error,
                "medianReadoutError": error * 2,
            },
            "nodes": [{"name": node_name(number), "slots": SLOTS, "held": 0}],
        },
    }


def make_pod(number: int, scheduler: str, selector: bool) -> Manifest:
    """Makes a pod that asks for one slot, with the webhook's node selector or without."""
    container: Manifest = {
        "name": "main",
        "image": "example",
        "resources": {
            "limits": {names.RESOURCE_QPU: "1", "cpu": "100m", "memory": "64Mi"},
        },
    }
    spec: Manifest = {
        "schedulerName": scheduler,
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 0,
        "containers": [container],
    }
    if selector:
        spec["nodeSelector"] = {names.node_label_of_resource(names.RESOURCE_QPU): "true"}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"pod-{number:05d}", "namespace": NAMESPACE},
        "spec": spec,
    }


async def in_parallel(steps: Iterable[Callable[[], Awaitable[object]]]) -> None:
    """Takes all steps, some at a time."""
    waiting = asyncio.Semaphore(CONCURRENCY)

    async def take(step: Callable[[], Awaitable[object]]) -> None:
        async with waiting:
            await step()

    async with asyncio.TaskGroup() as tasks:
        for step in steps:
            tasks.create_task(take(step))


class Fleet:
    """Nodes, QPUs and pods at a control plane of its own.

    Args:
        cluster: The control plane.
        objects: Its API server.
    """

    def __init__(self, cluster: Cluster, objects: ObjectsAPI) -> None:
        self.cluster = cluster
        self.objects = objects

    async def fill(self, nodes: int, qpus: int) -> None:
        """Makes the nodes, of which the first have slots, and their QPUs."""
        made = (make_node(number, number < qpus) for number in range(nodes))
        await in_parallel(partial(self._create_node, node) for node in made)
        await in_parallel(partial(self._create_qpu, make_qpu(number)) for number in range(qpus))

    async def _create_node(self, node: Manifest) -> None:
        await self.objects.create(NODES, node)
        # Admission taints every new node as not ready; the controller manager would take it off.
        await self.objects.merge(NODES, name_of(node), {"spec": {"taints": None}})

    async def _create_qpu(self, qpu: Manifest) -> None:
        await self.objects.create(QPUS, qpu)
        await self.objects.apply_status(QPUS, qpu)

    async def create_pods(self, pods: int, scheduler: str, selector: bool) -> None:
        """Creates pods that wait for a scheduler."""
        made = (make_pod(number, scheduler, selector) for number in range(pods))
        place = PODS.within(NAMESPACE)
        await in_parallel(partial(self.objects.create, place, pod) for pod in made)

    async def delete_pods(self) -> None:
        """Deletes all pods, in one request: they are gone when it is answered."""
        path = f"{PODS.within(NAMESPACE).path()}?gracePeriodSeconds=0"
        await asyncio.to_thread(self.cluster.kubectl, "delete", f"--raw={path}", seconds=300)

    async def time_binds(
        self,
        pods: int,
        start: Callable[[], object],
        at_ends: Callable[[], object],
        seconds: float,
    ) -> list[float]:
        """Starts a scheduler and tells when each pod was bound, in seconds since then.

        Args:
            pods: How many there are.
            start: Starts it.
            at_ends: Called at the first and at the last bind.
            seconds: How long they may take.

        Raises:
            TimeoutError: If not all were bound in time.
        """
        place = PODS.within(NAMESPACE)
        listing = await self.objects.list(place, seconds=60)
        began = asyncio.get_running_loop().time()
        bound: dict[str, float] = {}
        await asyncio.to_thread(start)
        async with asyncio.timeout(seconds):
            version = listing.resource_version
            while len(bound) < pods:
                async for event in self.objects.watch(place, version):
                    version = version_of(event.object) or version
                    spec = event.object.get("spec")
                    if isinstance(spec, dict) and spec.get("nodeName"):
                        if not bound:
                            at_ends()
                        bound.setdefault(
                            name_of(event.object), asyncio.get_running_loop().time() - began
                        )
                    if len(bound) == pods:
                        break
        at_ends()
        return sorted(bound.values())

    async def await_explained(self, seconds: float) -> float:
        """Waits until every pod carries its explanation; gives the seconds that took.

        Raises:
            TimeoutError: If not all were explained in time.
        """
        began = asyncio.get_running_loop().time()
        async with asyncio.timeout(seconds):
            while True:
                pods = await self.objects.list(PODS.within(NAMESPACE), seconds=60)
                if all(map(is_explained, pods.items)):
                    return asyncio.get_running_loop().time() - began
                await asyncio.sleep(0.25)


def is_explained(pod: Manifest) -> bool:
    """Tells whether a pod carries an explanation."""
    metadata = pod["metadata"]
    annotations = metadata.get("annotations") if isinstance(metadata, dict) else None
    return isinstance(annotations, dict) and names.ANNOTATION_PLACEMENT in annotations


@asynccontextmanager
async def serve_fleet(nodes: int, qpus: int) -> AsyncIterator[Fleet]:
    """Brings up a control plane with nodes and QPUs; takes it down in the end."""
    cluster = Cluster(NAME)
    await asyncio.to_thread(cluster.down)  # what an interrupted run left
    await asyncio.to_thread(cluster.up, ClusterSpec(NAME, nodes=0))
    try:
        # Nobody reports for the nodes: the controller manager would take them for lost.
        for process in (CONTROLLER_MANAGER, SCHEDULER):
            processes.stop(cluster.layout, process)
        kinds = [crds.definition(kind) for kind in api.OBJECTS]
        cluster.apply(*kinds)
        defined = [f"crd/{kind.resource.name}" for kind in api.OBJECTS]
        cluster.kubectl("wait", "--for=condition=Established", *defined, "--timeout=30s")
        cluster.apply(
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
            {
                "apiVersion": "v1",
                "kind": "ServiceAccount",
                "metadata": {"name": "default", "namespace": NAMESPACE},
            },
        )
        configuration = client.Configuration()
        await config.load_kube_config(str(cluster.kubeconfig), client_configuration=configuration)
        spare_lookups(configuration)
        async with client.ApiClient(configuration) as api_client:
            fleet = Fleet(cluster, ObjectsAPI(api_client, "bench"))
            await fleet.fill(nodes, qpus)
            yield fleet
    finally:
        await asyncio.to_thread(cluster.down)
