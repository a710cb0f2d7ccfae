"""A quota pool at a small API server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from prometheus_client import CollectorRegistry

from kubeqpu.admission.pool.pool import PoolOptions, QuotaPool
from kubeqpu.admission.pool.supply import Supply
from kubeqpu.admission.pool.telemetry import PoolTelemetry
from kubeqpu.admission.telemetry import Telemetry
from kubeqpu.common import api
from kubeqpu.kube.objects import ObjectsAPI
from tests.support.object_server import Object, ObjectServer
from tests.support.registration import until

QPU, CPU = "kubeqpu.io/qpu", "kubeqpu.io/cpu-simulator"
OWNER = "kubeqpu-controller"
LABEL = {"kubeqpu.io/managed": "true"}


def make_queue(name: str, flavors: tuple[str, ...], *resources: str) -> Object:
    quotas = [{"name": resource, "nominalQuota": "0"} for resource in resources]
    group = {
        "coveredResources": list(resources),
        "flavors": [{"name": flavor, "resources": quotas} for flavor in flavors],
    }
    return {"metadata": {"name": name}, "spec": {"cohortName": "other", "resourceGroups": [group]}}


def make_cohort(**labels: str) -> Object:
    metadata = {"name": "kubeqpu", "uid": "uid-of-cohort", "labels": labels}
    return {"metadata": metadata, "spec": {"parentName": "company"}}


def make_qpu(name: str, slots: int, ready: bool = True, held: int = 0) -> api.QPU:
    status = "True" if ready else "False"
    return api.QPU.from_manifest({
        "apiVersion": api.API_VERSION,
        "kind": "QPU",
        "metadata": {"name": name},
        "spec": {"provider": "fake", "slots": slots},
        "status": {
            "conditions": [
                {"type": kind, "status": status, "reason": "Said", "message": "",
                 "lastTransitionTime": "2026-11-23T12:00:00Z"}
                for kind in ("Ready", "Accepting")
            ],
            "nodes": [{"name": "n1", "slots": slots, "held": held}],
        },
    })  # fmt: skip


@dataclass
class Stand:
    """A pool at a small API server, with a clock that is set by hand."""

    server: ObjectServer
    objects: ObjectsAPI
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    now: float = 1000.0
    leads: bool = True
    owner: str = OWNER

    def __post_init__(self) -> None:
        self.supply = Supply(self.objects)
        self.pool = self.make_pool(self.registry)

    def make_pool(self, registry: CollectorRegistry) -> QuotaPool:
        return QuotaPool(
            self.objects,
            self.supply,
            lambda: self.leads,
            Telemetry(registry),
            PoolTelemetry(registry),
            PoolOptions(self.owner, 30.0, "controller-0"),
            lambda: self.now,
        )

    def cohort(self) -> Any:
        return self.server.get("cohorts", "kubeqpu")

    def quotas(self) -> dict[tuple[str, str], str]:
        return {
            (flavor["name"], one["name"]): one["nominalQuota"]
            for group in self.cohort()["spec"]["resourceGroups"]
            for flavor in group["flavors"]
            for one in flavor["resources"]
        }

    def writes(self) -> int:
        server = self.server
        return server.count("POST", "cohorts") + server.count("PATCH", "cohorts")

    def shown(self, flavor: str, resource: str = QPU) -> float | None:
        labels = {"flavor": flavor, "resource": resource}
        return self.registry.get_sample_value("kubeqpu_admission_pool_slots", labels)


@asynccontextmanager
async def serving(owner: str = OWNER) -> AsyncIterator[Stand]:
    """A stand with one node, two flavors and a queue that names them for QPUs."""
    server = ObjectServer()
    server.put("clusterroles", {"metadata": {"name": OWNER}})
    server.put("nodes", {"metadata": {"name": "n1", "labels": {"rack": "1"}}})
    server.put("resourceflavors", {"metadata": {"name": "any"}, "spec": {}})
    rack = {"nodeLabels": {"rack": "1"}}
    server.put("resourceflavors", {"metadata": {"name": "rack"}, "spec": rack})
    server.put("clusterqueues", make_queue("team", ("any", "rack"), QPU))
    async with server.serve() as api_client:
        stand = Stand(server, ObjectsAPI(api_client, "test"), owner=owner)
        task = asyncio.create_task(stand.supply.run())
        stand.supply.see_qpus(())
        await until(stand.supply.is_complete)
        yield stand
        task.cancel()
