"""Objects that wait at gates, and a keeper of gates at work on a stand-in of the API server."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from prometheus_client import CollectorRegistry

from kubeqpu.admission.catalogue import Catalogue
from kubeqpu.admission.gates.keeper import FIELD_MANAGER, GateKeeper
from kubeqpu.admission.gates.telemetry import GateTelemetry
from kubeqpu.admission.loops import Loop, Progress
from kubeqpu.admission.telemetry import Telemetry
from kubeqpu.common import names
from kubeqpu.kube.objects import ObjectsAPI
from tests.support.object_server import ObjectServer
from tests.unit.admission.webhook_objects import GATED_BY, Object, job, jobset, pod

PLURALS = {"Pod": "pods", "Job": "jobs", "JobSet": "jobsets"}
LABELS = {names.LABEL_GATED: "true"}


def gated_pod(name: str, *others: str, **wishes: str) -> Object:
    """A pod that waits before the scheduler; others gate it too."""
    annotations = {
        f"{names.DOMAIN}/{key.replace('_', '-')}": value for key, value in wishes.items()
    }
    made = pod(name=name, namespace="lab", labels=dict(LABELS), annotations=annotations)
    made["spec"]["schedulingGates"] = [{"name": gate} for gate in (*others, names.GATE)]
    return made


def gated_job(name: str, gates: str = names.GATE, **metadata: Any) -> Object:
    """A Job that waits before Kueue."""
    annotations = {GATED_BY: gates}
    return job(name=name, namespace="lab", labels=dict(LABELS), annotations=annotations, **metadata)


def gated_job_set(name: str) -> Object:
    """A JobSet that waits before Kueue."""
    annotations = {GATED_BY: names.GATE}
    return jobset(
        pod(), pod(), name=name, namespace="lab", labels=dict(LABELS), annotations=annotations
    )


def make_qpu(name: str, *, ready: bool, qubits: int = 127) -> Object:
    """A QPU as its gateway reports it."""
    status = "True" if ready else "False"
    conditions = [
        {"type": kind, "status": status, "reason": "Told", "message": "",
         "lastTransitionTime": "2026-11-23T11:00:00Z"}
        for kind in ("Ready", "Accepting", "Calibrated")
    ]  # fmt: skip
    return {
        "apiVersion": "kubeqpu.io/v1alpha1", "kind": "QPU", "metadata": {"name": name},
        "spec": {"provider": "fake", "resourceName": names.RESOURCE_QPU, "slots": 1},
        "status": {"numQubits": qubits, "conditions": conditions},
    }  # fmt: skip


def make_class(name: str, mode: str) -> Object:
    """A class that lets pods wait in some way."""
    return {"apiVersion": "kubeqpu.io/v1alpha1", "kind": "QPUClass", "metadata": {"name": name},
            "spec": {"admission": mode}}  # fmt: skip


def is_gated(found: Object) -> bool:
    """Tells whether an object has anything left of our gate."""
    spec_gates = [gate["name"] for gate in found["spec"].get("schedulingGates", [])]
    annotations = found["metadata"].get("annotations", {})
    return (
        names.GATE in spec_gates
        or names.GATE in annotations.get(GATED_BY, "")
        or names.LABEL_GATED in found["metadata"].get("labels", {})
        or names.ANNOTATION_WAITING_FOR in annotations
    )


class Room:
    """A keeper that runs."""

    def __init__(self, server: ObjectServer, objects: ObjectsAPI) -> None:
        self.server = server
        self.leads = True
        self.registry = CollectorRegistry()
        self.telemetry = Telemetry(self.registry)
        self.catalogue = Catalogue(objects)
        self.keeper = GateKeeper(
            objects,
            self.catalogue,
            lambda: self.leads,
            self.telemetry,
            GateTelemetry(self.registry),
            instance="one",
        )
        progress = Progress({"gates": 60, "notes": 60})
        self.loops = [
            Loop("gates", self.keeper.step, progress, self.telemetry),
            Loop("notes", self.keeper.tell, progress, self.telemetry),
        ]
        self.keeper.wake_by(self.loops[0].wake)

    def put(self, manifest: Object) -> None:
        self.server.put(PLURALS[manifest["kind"]], manifest)

    def get(self, kind: str, name: str) -> Object:
        found = self.server.get(PLURALS[kind], name)
        assert found is not None
        return found

    def said(self, kind: str, name: str) -> str:
        annotations = self.get(kind, name)["metadata"].get("annotations", {})
        return str(annotations.get(names.ANNOTATION_WAITING_FOR, ""))

    def still_gated(self) -> int:
        found = self.server.objects.items()
        return sum(key[0] in PLURALS.values() and is_gated(one) for key, one in found)

    def events(self, reason: str) -> list[Object]:
        found = (one for key, one in self.server.objects.items() if key[0] == "events")
        return [one for one in found if one["reason"] == reason]

    def sample(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(f"kubeqpu_admission_{name}", labels)

    async def until(self, found: Callable[[], object], seconds: float = 5.0) -> None:
        async with asyncio.timeout(seconds):
            while not found():  # noqa: ASYNC110 - conditions of any kind
                await asyncio.sleep(0.01)


@asynccontextmanager
async def keeping(server: ObjectServer | None = None) -> AsyncIterator[Room]:
    """Runs a keeper on a stand-in."""
    async with (server := server or ObjectServer()).serve() as api_client:
        room = Room(server, ObjectsAPI(api_client, FIELD_MANAGER))
        running = [
            asyncio.create_task(one())
            for one in (
                room.catalogue.run,
                *room.keeper.tasks(),
                *(loop.run for loop in room.loops),
            )
        ]
        try:
            yield room
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
