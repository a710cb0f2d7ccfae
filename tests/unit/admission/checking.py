"""A controller of checks at work on a stand-in of the API server, and of Kueue."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from kubernetes.aio import client
from prometheus_client import CollectorRegistry

from kubeqpu.admission.catalogue import Catalogue
from kubeqpu.admission.checks.registry import CONTROLLER
from kubeqpu.admission.checks.service import Checks
from kubeqpu.admission.checks.telemetry import CheckTelemetry
from kubeqpu.admission.loops import Loop, Progress
from kubeqpu.admission.presence import Presence
from kubeqpu.admission.telemetry import Telemetry
from kubeqpu.kube.objects import ObjectsAPI
from kubeqpu.kube.resources import WORKLOADS
from tests.support.kueue_server import WorkloadServer

VERDICTS = "kubeqpu_admission_verdicts_total"
SECONDS = "kubeqpu_admission_verdict_seconds"


class Controller:
    """One process of the controller, as far as checks go."""

    def __init__(self, api_client: client.ApiClient, leads: Callable[[], bool]) -> None:
        self.registry = CollectorRegistry()
        telemetry = Telemetry(self.registry)
        catalogue = Catalogue(ObjectsAPI(api_client, "test"))
        presence = Presence(ObjectsAPI(api_client, "test"), WORKLOADS, look_seconds=0.1)
        checks = Checks(
            ObjectsAPI(api_client, CONTROLLER),
            catalogue,
            leads,
            telemetry,
            CheckTelemetry(self.registry),
        )
        loop = Loop("checks", checks.step, Progress({"checks": 60}), telemetry)
        checks.wake_by(loop.wake)
        self._tasks = [
            asyncio.create_task(presence.run()),
            asyncio.create_task(presence.attend(checks.run)),
            asyncio.create_task(catalogue.run()),
            asyncio.create_task(loop.run()),
        ]

    async def kill(self) -> None:
        """Ends it wherever it is; what it had sent may arrive or not."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def metric(self, sample: str, **labels: str) -> float:
        return self.registry.get_sample_value(sample, labels) or 0.0


@asynccontextmanager
async def controlling(
    server: WorkloadServer, leads: Callable[[], bool] = lambda: True
) -> AsyncIterator[Controller]:
    """Serves, and runs one controller."""
    async with server.serve() as api_client:
        controller = Controller(api_client, leads)
        try:
            yield controller
        finally:
            await controller.kill()
