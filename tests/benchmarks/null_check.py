"""The cheapest AdmissionCheck there can be: what any check costs with Kueue, ours or another.

It says Ready of every Workload that has quota, without a look at anything, in one write.

    python -m tests.benchmarks.null_check
"""

import asyncio
from datetime import UTC, datetime

from kubernetes.aio import client, config

from kubeqpu.common.requests import object_at, objects_at
from kubeqpu.kube.connection import spare_lookups
from kubeqpu.kube.errors import APIServerError
from kubeqpu.kube.objects import ObjectsAPI
from kubeqpu.kube.resources import (
    ADMISSION_CHECKS,
    WORKLOADS,
    Manifest,
    name_of,
    namespace_of,
    version_of,
)

CHECK = "null"
CONTROLLER = "kubeqpu.io/bench-null"
_KUEUE = "kueue.x-k8s.io/v1beta2"


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def is_open(workload: Manifest) -> bool:
    """Tells whether a Workload has quota and waits for this check."""
    status = object_at(workload, "status")
    reserved = any(
        one.get("type") == "QuotaReserved" and one.get("status") == "True"
        for _, one in objects_at(status, "conditions")
    )
    return reserved and any(
        one.get("name") == CHECK and one.get("state") == "Pending"
        for _, one in objects_at(status, "admissionChecks")
    )


async def _activate(objects: ObjectsAPI) -> None:
    condition: Manifest = {
        "type": "Active", "status": "True", "reason": "Active", "message": "It always is.",
        "lastTransitionTime": _now(),
    }  # fmt: skip
    await objects.apply_status(
        ADMISSION_CHECKS,
        {
            "apiVersion": _KUEUE,
            "kind": "AdmissionCheck",
            "metadata": {"name": CHECK},
            "status": {"conditions": [condition]},
        },
    )


async def _permit(objects: ObjectsAPI, workload: Manifest) -> None:
    name, namespace = name_of(workload), namespace_of(workload)
    metadata: Manifest = {
        "name": name, "namespace": namespace, "resourceVersion": version_of(workload),
    }  # fmt: skip
    entry: Manifest = {
        "name": CHECK, "state": "Ready", "message": "", "lastTransitionTime": _now(),
    }  # fmt: skip
    manifest: Manifest = {
        "apiVersion": _KUEUE,
        "kind": "Workload",
        "metadata": metadata,
        "status": {"admissionChecks": [entry]},
    }
    try:
        await objects.apply_status(WORKLOADS.within(namespace), manifest)
    except APIServerError:
        return  # the change that was in the way comes through the watch, and is judged


async def run() -> None:
    """Says Ready until the process is ended."""
    configuration = client.Configuration()
    await config.load_kube_config(client_configuration=configuration)
    spare_lookups(configuration)
    async with client.ApiClient(configuration) as api_client, asyncio.TaskGroup() as group:
        objects = ObjectsAPI(api_client, CONTROLLER)
        await _activate(objects)
        version = (await objects.list(WORKLOADS)).resource_version
        while True:
            async for event in objects.watch(WORKLOADS, version):
                version = version_of(event.object) or version
                if event.type in ("ADDED", "MODIFIED") and is_open(event.object):
                    group.create_task(_permit(objects, event.object))


if __name__ == "__main__":
    asyncio.run(run())
