"""A gateway on node-1 that gives slots to pods on two nodes."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import grpc
import pytest

from kubeqpu.proto.v1 import gateway_pb2
from kubeqpu.qpu_gateway.qpus import load_factories
from kubeqpu.qpu_gateway.server import Gateway
from tests.integration.gateway_support import (
    Coins,
    InProcessInspector,
    coin_spec,
    make_settings,
    request,
)
from tests.support.slots import Authority, ClusterServer, Plugin, cluster_section

DENIED = grpc.StatusCode.PERMISSION_DENIED
UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
SPREAD = {
    "name": "penny",
    "provider": "coin",
    "slots": 4,
    "slot_placement": "Spread",
    "resource_name": "kubeqpu.io/cpu-simulator",
}
OWN = {"name": "dime", "provider": "coin", "slots": 2}


@dataclass
class Place:
    """A gateway on node-1, with its API server and certificate."""

    cluster: ClusterServer
    coins: Coins
    gateway: Gateway
    authority: Authority

    @property
    def address(self) -> str:
        return self.gateway.addresses[0]

    def plugin(self, node: str, token: str | None = None) -> Plugin:
        token = token or self.cluster.issue_plugin_token(node)
        return Plugin(self.authority, self.address, token, node)

    def pod_token(self, pod: str, node: str = "node-1", uid: str | None = None) -> str:
        return self.cluster.reviews.issue_token("team", pod=pod, node=node, pod_uid=uid)

    async def submit(self, token: str, qpu: str = "penny", key: str = "", **spec: object) -> str:
        job = coin_spec([[1.0]], qpu=qpu, **spec)
        async with self.authority.call(self.address, token) as stub:
            answer = await stub.SubmitJob(request(key or str(time.monotonic_ns()), job))
        return answer.id

    async def get(self, token: str, job_id: str) -> gateway_pb2.Job:
        async with self.authority.call(self.address, token) as stub:
            return await stub.GetJob(gateway_pb2.GetJobRequest(id=job_id))

    async def metric(self, line: str) -> float:
        url = f"http://127.0.0.1:{self.gateway.metrics_port}/metrics"
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            text = await response.text()
        (found,) = [row for row in text.splitlines() if row.startswith(f"kubeqpu_gateway_{line} ")]
        return float(found.rpartition(" ")[2])

    def status(self, qpu: str = "penny") -> dict[str, object]:
        found = self.cluster.objects.get("qpus", qpu)
        return {} if found is None else found.get("status", {})


@asynccontextmanager
async def serve_place(
    folder: Path, *qpus: dict[str, object], **cluster: object
) -> AsyncIterator[Place]:
    authority, server, coins = Authority(folder), ClusterServer(), Coins()
    settings = make_settings(
        folder,
        listen=("localhost:0",),
        metrics_port=0,
        node_name="node-1",
        pod_name="gateway-0",
        tls=authority.section,
        cluster=cluster_section(**cluster),
        qpus=qpus or (SPREAD, OWN),
    )
    factories = {**load_factories(), **coins.factories()}
    async with server.serve() as api_client:
        gateway = Gateway(settings, factories, InProcessInspector(), api_client=api_client)
        async with gateway:
            yield Place(server, coins, gateway, authority)


@asynccontextmanager
async def two_plugins(place: Place) -> AsyncIterator[tuple[Plugin, Plugin]]:
    """Both nodes' plugins, the slots divided: even numbers on node-1, odd ones on node-2."""
    async with AsyncExitStack() as stack:
        one, two = [
            await stack.enter_async_context(place.plugin(node)) for node in ("node-1", "node-2")
        ]
        one.report()
        two.report()
        await one.wait("penny-0", "penny-2", "dime-0", "dime-1")
        await two.wait("penny-1", "penny-3")
        yield one, two


async def refuse(call: Awaitable[object]) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call
    return refused.value.code(), str(refused.value.details())
