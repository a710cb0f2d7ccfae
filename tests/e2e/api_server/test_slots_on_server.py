"""Slots with real nodes, real pods' tokens, and no more rights than the chart gives a gateway."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest

from kubeqpu.qpu_gateway.qpus import load_factories
from kubeqpu.qpu_gateway.server import Gateway
from tests.e2e.api_server.registering import (
    cluster_settings,
    connect,
    find,
    install,
    says,
    until,
)
from tests.e2e.api_server.server import APIServer
from tests.integration.gateway_support import (
    Coins,
    InProcessInspector,
    coin_spec,
    make_settings,
    request,
)
from tests.support.slots import ACCOUNT, NODES, Authority, Plugin

AUDIENCE = "kubeqpu.io/gateway"
PLUGINS, PLUGIN = ACCOUNT
OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"
REFUSALS = (grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED)
RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}


@pytest.fixture(scope="module")
def release(server: APIServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[APIServer]:
    """The chart with one QPU, `penny`, and the namespaces of plugins and of a team."""
    install(server, tmp_path_factory.mktemp("values"), {"penny": {"provider": "fake"}})
    for namespace in (PLUGINS, "team"):
        server.make_namespace(namespace)
    server.kubectl("create", "serviceaccount", PLUGIN, f"--namespace={PLUGINS}")
    yield server
    server.remove_release()


@pytest.fixture(autouse=True)
def nodes(release: APIServer) -> Iterator[None]:
    for name in NODES:
        make_node(release, name)
    yield
    for namespace in (PLUGINS, "team"):
        # No kubelet is there to end them.
        release.kubectl("delete", "pods", "--all", f"--namespace={namespace}", "--force",
                        "--grace-period=0")  # fmt: skip
    release.kubectl("delete", "nodes", "--all")
    release.kubectl("delete", "qpu", "--all")


def make_node(server: APIServer, name: str) -> None:
    labels = {"quantum": "yes"}
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}}
    server.apply(node)


def make_pod(server: APIServer, namespace: str, name: str, node: str, account: str) -> str:
    """Makes a pod that is bound to a node and never runs, and gives its token for the gateway."""
    container = {"name": "main", "image": "example.invalid/x", "securityContext": RESTRICTED}
    tolerations = [{"operator": "Exists"}]
    server.apply({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "nodeName": node, "serviceAccountName": account, "containers": [container],
            "tolerations": tolerations,
        },
    })  # fmt: skip
    return server.kubectl(
        "create", "token", account, f"--namespace={namespace}", f"--audience={AUDIENCE}",
        "--bound-object-kind=Pod", f"--bound-object-name={name}",
    ).strip()  # fmt: skip


@dataclass
class Place:
    """A gateway with four slots of one QPU for two nodes."""

    server: APIServer
    gateway: Gateway
    authority: Authority

    @property
    def address(self) -> str:
        return self.gateway.addresses[0]

    async def plugin(self, node: str) -> Plugin:
        token = await asyncio.to_thread(
            make_pod, self.server, PLUGINS, f"plugin-{node}", node, PLUGIN
        )
        return Plugin(self.authority, self.address, token, node)

    async def submit(self, token: str) -> str:
        spec = coin_spec([[1.0]], qpu="penny")
        async with self.authority.call(self.address, token) as stub:
            return (await stub.SubmitJob(request(str(time.monotonic_ns()), spec))).id

    async def is_denied(self, token: str) -> bool:
        try:
            await self.submit(token)
        except grpc.aio.AioRpcError as error:
            if error.code() not in REFUSALS:
                raise
            return True
        return False

    def shares(self) -> list[dict[str, object]]:
        found = find(self.server, "qpu", "penny") or {}
        nodes: list[dict[str, object]] = found.get("status", {}).get("nodes", [])
        return nodes


@asynccontextmanager
async def serve_place(server: APIServer, folder: Path) -> AsyncIterator[Place]:
    authority = Authority(folder)
    cluster = cluster_settings(["penny"], device_plugin=f"{PLUGINS}/{PLUGIN}")
    qpu = {
        "name": "penny",
        "provider": "coin",
        "slots": 4,
        "slot_placement": "Spread",
        "slot_node_selector": {"quantum": "yes"},
    }
    settings = make_settings(
        folder,
        listen=("localhost:0",),
        node_name="node-1",
        pod_name="kubeqpu-gateway-default-0",
        tls=authority.section,
        cluster=cluster.model_dump(),
        qpus=[qpu],
    )
    factories = {**load_factories(), **Coins().factories()}
    async with connect(server) as api_client:
        gateway = Gateway(settings, factories, InProcessInspector(), api_client=api_client)
        async with gateway:
            yield Place(server, gateway, authority)


@pytest.fixture
async def place(release: APIServer, tmp_path: Path) -> AsyncIterator[Place]:
    async with serve_place(release, tmp_path) as found:
        yield found


@asynccontextmanager
async def two_plugins(place: Place) -> AsyncIterator[tuple[Plugin, Plugin]]:
    first, second = [await place.plugin(node) for node in NODES]
    async with first as one, second as two:
        one.report()
        two.report()
        await one.wait("penny-0", "penny-2", seconds=20)
        await two.wait("penny-1", "penny-3")
        yield one, two


async def test_a_pod_that_holds_a_slot_uses_its_qpu_while_it_does(place: Place) -> None:
    async with two_plugins(place) as (one, _):
        token, other = [
            await asyncio.to_thread(make_pod, place.server, "team", name, "node-1", "default")
            for name in ("web", "other")
        ]
        one.report(("penny-0", "team/web"))
        await place.submit(token)
        assert await place.is_denied(other)
        shares = [
            {"name": "node-1", "slots": 2, "held": 1},
            {"name": "node-2", "slots": 2, "held": 0},
        ]
        await until(lambda: place.shares() == shares, "status.nodes")
        shown = await asyncio.to_thread(place.server.kubectl, "get", "qpus")
        assert "1/4" in shown.split()
        # Its token still counts; its right ended with the holding.
        one.report()
        assert await place.is_denied(token)


async def test_a_token_of_a_pod_that_is_gone_is_refused(place: Place) -> None:
    async with two_plugins(place) as (one, _):
        server = place.server
        token = await asyncio.to_thread(make_pod, server, "team", "web", "node-1", "default")
        one.report(("penny-0", "team/web"))
        await place.submit(token)
        delete = ("delete", "pod", "web", "--namespace=team", "--grace-period=0", "--force")
        await asyncio.to_thread(server.kubectl, *delete)
        one.report()
        # The next pod of the name gets the slot; the earlier one's token may count for a while.
        successor = await asyncio.to_thread(make_pod, server, "team", "web", "node-1", "default")
        one.report(("penny-0", "team/web"))
        await place.submit(successor)
        assert await place.is_denied(token)


async def test_slots_leave_nodes_that_are_tainted_or_deleted(place: Place) -> None:
    async with two_plugins(place) as (one, two):
        server = place.server
        token = await asyncio.to_thread(make_pod, server, "team", "web", "node-2", "default")
        two.report(("penny-1", "team/web"))
        await place.submit(token)
        taint = ("taint", "node", "node-2", f"{OUT_OF_SERVICE}=down:NoExecute")
        await asyncio.to_thread(server.kubectl, *taint)
        await one.wait("penny-0", "penny-1", "penny-2", "penny-3")
        assert two.slots == {}
        assert one.slots["penny-1"].generation == 2
        assert await place.is_denied(token)
        await asyncio.to_thread(server.kubectl, "taint", "node", "node-2", f"{OUT_OF_SERVICE}-")
        await asyncio.to_thread(server.kubectl, "delete", "node", "node-1")
        await two.wait("penny-0", "penny-1", "penny-2", "penny-3")
        shares = [{"name": "node-2", "slots": 4}]
        await until(
            lambda: [{k: s[k] for k in ("name", "slots")} for s in place.shares()] == shares,
            "status.nodes",
        )


async def test_only_the_plugins_account_may_report(place: Place) -> None:
    token = await asyncio.to_thread(make_pod, place.server, PLUGINS, "x", "node-1", "default")
    async with Plugin(place.authority, place.address, token, "node-1") as plugin:
        plugin.report(("penny-0", "team/web"))
        assert await plugin.wait_ended() is grpc.StatusCode.PERMISSION_DENIED


async def test_the_qpu_is_ready_with_slots_that_nobody_offers(place: Place) -> None:
    await until(lambda: says(place.server, "penny", "Ready", "True"), "Ready")
    found = find(place.server, "qpu", "penny")
    assert found is not None
    assert found["status"]["summary"]["slots"] == "0/4"
    assert found["status"].get("nodes", []) == []
