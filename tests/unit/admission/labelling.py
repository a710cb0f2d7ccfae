"""A labeller of nodes at work, and the QPUs that it sees."""

from prometheus_client import CollectorRegistry
from pydantic import JsonValue

from kubeqpu.admission.labeller import NodeLabeller
from kubeqpu.admission.telemetry import Telemetry
from kubeqpu.common import api
from kubeqpu.kube.objects import ObjectsAPI
from kubeqpu.kube.resources import Manifest
from tests.unit.admission.api_stand_in import APIStandIn

QPU_RESOURCE = "kubeqpu.io/qpu"


def qpu(name: str, resource: str = QPU_RESOURCE, /, **slots: int) -> api.QPU:
    return api.QPU.from_manifest(manifest(name, resource, **slots))


def manifest(name: str, resource: str = QPU_RESOURCE, /, **slots: int) -> Manifest:
    nodes: list[JsonValue] = [{"name": node, "slots": count} for node, count in slots.items()]
    return {
        "apiVersion": "kubeqpu.io/v1alpha1", "kind": "QPU", "metadata": {"name": name},
        "spec": {"provider": "fake", "resourceName": resource},
        "status": {"nodes": nodes},
    }  # fmt: skip


class Room:
    """A labeller on an API server, with a clock that only the test moves."""

    def __init__(self, server: APIStandIn, objects: ObjectsAPI) -> None:
        self.server = server
        self.leads = True
        self.answers: list[bool] = []
        self.now = 0.0
        self.labeller = NodeLabeller(
            objects, self._asks, Telemetry(CollectorRegistry()), lambda: self.now
        )

    def _asks(self) -> bool:
        return self.answers.pop(0) if self.answers else self.leads

    async def settle(self) -> float:
        """Steps until there is nothing left to do; gives the seconds that it would wait."""
        for _ in range(1000):
            # A test does not wait for the pace, which has a test of its own.
            self.now += 1.0
            if delay := await self.labeller.step():
                return delay
        raise AssertionError("it writes for ever")

    async def resync(self) -> float:
        self.now += 60.0
        return await self.settle()

    def writes(self) -> int:
        """How many writes there were."""
        return sum(request.startswith("PATCH") for request in self.server.requests)
