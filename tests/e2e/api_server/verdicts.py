"""Queues with our AdmissionCheck, and Workloads in them, on a real API server with Kueue."""

import asyncio
from typing import Any

from kubeqpu.kube.objects import ObjectsAPI
from kubeqpu.kube.resources import WORKLOADS
from tests.e2e.api_server.controller import STATUS
from tests.e2e.api_server.queueing import QPU, make, make_local_queue, with_objects
from tests.e2e.api_server.server import APIServer

Object = dict[str, Any]
NAMESPACE = "lab"


def make_check(name: str, controller: str = "kubeqpu.io/qpu", class_name: str = "") -> Object:
    """Makes an AdmissionCheck."""
    parameters = {"apiGroup": "kubeqpu.io", "kind": "QPUClass", "name": class_name}
    spec = {"controllerName": controller} | ({"parameters": parameters} if class_name else {})
    return make("AdmissionCheck", name, spec)


def make_checked_queue(name: str, *checks: str) -> list[Object]:
    """Makes a ClusterQueue with quota for all and these checks, and its LocalQueue."""

    def group(flavor: str, resource: str, quota: str) -> Object:
        resources = [{"name": resource, "nominalQuota": quota}]
        return {"coveredResources": [resource],
                "flavors": [{"name": flavor, "resources": resources}]}  # fmt: skip

    strategy = {"admissionChecks": [{"name": check, "onFlavors": ["qpu"]} for check in checks]}
    queue = make("ClusterQueue", name, {
        "namespaceSelector": {},
        "resourceGroups": [group("default", "cpu", "10k"), group("qpu", QPU, "10k")],
        "admissionChecksStrategy": strategy,
    })  # fmt: skip
    return [queue, make_local_queue(name, NAMESPACE)]


def make_workload(name: str, queue: str) -> Object:
    """Makes a Workload that no Job stands behind."""
    container = {"name": "main", "image": "example", "resources": {"requests": {QPU: "1"}}}
    container["resources"] |= {"limits": {QPU: "1"}}  # type: ignore[operator]
    pods = {"name": "main", "count": 1, "template": {"spec": {
        "containers": [container], "restartPolicy": "Never"}}}  # fmt: skip
    made = make("Workload", name, {"queueName": queue, "podSets": [pods]})
    made["metadata"]["namespace"] = NAMESPACE
    return made


def create_workloads(server: APIServer, queue: str, count: int, per_second: float) -> None:
    """Creates Workloads evenly over time."""

    async def create(objects: ObjectsAPI) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        async with asyncio.TaskGroup() as group:
            for number in range(count):
                await asyncio.sleep(began + number / per_second - loop.time())
                made = make_workload(f"{queue}-{number}", queue)
                group.create_task(_create(objects, made))

    async def _create(objects: ObjectsAPI, made: Object) -> None:
        await objects.create(WORKLOADS.within(NAMESPACE), made)

    with_objects(server, create)


def workloads(server: APIServer, queue: str) -> list[Object]:
    """The Workloads of a queue."""
    found = server.get("workloads.kueue.x-k8s.io", f"--namespace={NAMESPACE}")["items"]
    return [one for one in found if one["spec"]["queueName"] == queue]


def entries(workload: Object) -> dict[str, Object]:
    """What checks say of a Workload."""
    return {one["name"]: one for one in workload.get("status", {}).get("admissionChecks", [])}


def is_true(found: Object, condition: str) -> bool:
    """Tells whether a condition holds."""
    told = found.get("status", {}).get("conditions", [])
    return any(one["type"] == condition and one["status"] == "True" for one in told)


def is_active(server: APIServer, check: str) -> bool:
    """Tells whether an AdmissionCheck is taken up."""
    return is_true(server.get("admissionchecks.kueue.x-k8s.io", check), "Active")


def activate(server: APIServer, check: str) -> None:
    """Says that a check is taken up, as its controller would."""
    condition = {"type": "Active", "status": "True", "reason": "Active", "message": "",
                 "lastTransitionTime": "2026-11-23T12:00:00Z"}  # fmt: skip
    manifest = make("AdmissionCheck", check, {})
    del manifest["spec"]
    status = {"conditions": [condition]}
    server.apply({**manifest, "status": status}, manager="foreign", options=STATUS)
