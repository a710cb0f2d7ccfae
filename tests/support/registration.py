"""A registration with a stand-in of the API server under it."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from kubeqpu.qpu_gateway.cluster.registration import Registration
from kubeqpu.qpu_gateway.providers.base import QPUSettings
from kubeqpu.qpu_gateway.qpus import QPUs
from kubeqpu.qpu_gateway.settings import ClusterSettings
from kubeqpu.qpu_gateway.workers import WorkerLimits, WorkerPool
from tests.integration.gateway_support import CoinProvider, Coins
from tests.support.object_server import Object, ObjectServer

ROLE: Object = {
    "apiVersion": "rbac.authorization.k8s.io/v1",
    "kind": "ClusterRole",
    "metadata": {"name": "role-coin", "uid": "role-uid"},
}

CLUSTER = ClusterSettings(
    gateway="main",
    namespace="lab",
    endpoint="main.lab.svc:7070",
    owners={"coin": "role-coin"},
)


@dataclass
class Stand:
    """A stand-in with a gateway's registration at it."""

    server: ObjectServer
    qpus: QPUs
    coin: CoinProvider

    def status(self) -> dict[str, Any]:
        found = self.server.get("qpus", "coin") or {}
        return dict(found.get("status", {}))

    def ready(self) -> tuple[str, str]:
        for item in self.status().get("conditions", []):
            if item["type"] == "Ready":
                return item["status"], item["reason"]
        return "", ""

    def is_ready(self) -> bool:
        return self.ready()[0] == "True"


@asynccontextmanager
async def stand(
    server: ObjectServer | None = None,
    prepare: Callable[[CoinProvider], None] = lambda provider: None,
    *,
    owned: bool = True,
) -> AsyncIterator[Stand]:
    """Serves a stand-in and registers one QPU there; the role that owns it may exist."""
    made = server or ObjectServer()
    if owned and made.get("clusterroles", "role-coin") is None:
        made.put("clusterroles", ROLE)
    coins = Coins(prepare)
    section = QPUSettings(name="coin", provider="coin", slots=2)
    qpus = QPUs((section,), coins.factories(), WorkerPool(WorkerLimits()))
    async with made.serve() as api_client:
        registration = Registration(api_client, CLUSTER, "main-0", qpus)
        await registration.start()
        qpus["coin"].start()
        try:
            yield Stand(made, qpus, coins.by_name["coin"])
        finally:
            await registration.stop()
            await qpus["coin"].close()


async def until(condition: Callable[[], object], seconds: float = 6.0) -> float:
    began = time.monotonic()
    while not condition():
        assert time.monotonic() < began + seconds, "waited too long"
        await asyncio.sleep(0.02)
    return time.monotonic() - began
