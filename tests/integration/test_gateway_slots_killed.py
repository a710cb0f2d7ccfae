"""The gateway is killed with SIGKILL again and again, and no slot is ever on two nodes."""

from __future__ import annotations

import asyncio
import random
import socket
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import pytest
import yaml
from qiskit import QuantumCircuit

from kubeqpu.proto.v1 import gateway_pb2
from tests.integration.gateway_support import dump, parameters, request
from tests.support.gateway import GatewayProcess
from tests.support.slots import NODES, Authority, ClusterServer, Plugin, cluster_section

KILLS = 8
SLOTS = 6
DENIED = grpc.StatusCode.PERMISSION_DENIED


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def one_circuit() -> gateway_pb2.JobSpec:
    circuit = QuantumCircuit(1, 1)
    circuit.measure(0, 0)
    spec = gateway_pb2.JobSpec(qpu="sim", circuits=dump(circuit), seed=1)
    spec.sampler.format = gateway_pb2.RESULT_FORMAT_COUNTS
    spec.sampler.entries.add(parameters=parameters([[]]), shots=[1])
    return spec


@dataclass
class Node:
    """A node as its kubelet sees it: what its plugin was told last, and the pods that run.

    A plugin connects again by itself; while it cannot, everything stays as it was told.
    """

    place: Place
    name: str
    told: dict[str, int] = field(default_factory=dict)
    pods: dict[str, str] = field(default_factory=dict)
    plugin: Plugin | None = None
    task: asyncio.Task[None] | None = None

    async def run(self) -> None:
        while True:
            token = self.place.cluster.issue_plugin_token(self.name)
            place = self.place
            async with Plugin(place.authority, place.address, token, self.name) as plugin:
                self.plugin = plugin
                self.report()
                while plugin.error is None:
                    if plugin.responses:
                        self.take(plugin)
                    await asyncio.sleep(0.01)
            await asyncio.sleep(0.05)

    def take(self, plugin: Plugin) -> None:
        self.told = {name: slot.generation for name, slot in plugin.slots.items()}
        self.place.check()

    def report(self) -> None:
        if self.plugin is not None:
            self.plugin.report(*((slot, f"team/{pod}") for slot, pod in self.pods.items()))


class Place:
    """A gateway in a process of its own, its API server, and two nodes."""

    def __init__(self, folder: Path, cluster: ClusterServer, server: str) -> None:
        self.cluster = cluster
        self.authority = Authority(folder)
        self.address = f"localhost:{free_port()}"
        self.generations: dict[str, int] = {}
        kubeconfig = folder / "kubeconfig"
        kubeconfig.write_text(
            yaml.safe_dump({
                "clusters": [{"name": "c", "cluster": {"server": server}}],
                "users": [{"name": "u", "user": {}}],
                "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
                "current-context": "x",
            })
        )  # fmt: skip
        qpu = {"name": "sim", "provider": "aer", "slots": SLOTS, "slot_placement": "Spread"}
        qpu["resource_name"] = "kubeqpu.io/cpu-simulator"
        self.process = GatewayProcess(
            folder,
            [qpu],
            {
                "listen": [f"unix:{folder / 'gateway.sock'}", self.address],
                "tls": self.authority.section,
                "cluster": cluster_section(slot_settle_seconds=2.0),
                "node_name": "node-1",
            },
            {"KUBECONFIG": str(kubeconfig)},
        )
        self.nodes = {name: Node(self, name) for name in NODES}

    def check(self) -> None:
        """Checks what all kubelets of nodes that exist were told together."""
        there = [
            node for node in self.nodes.values() if self.cluster.objects.get("nodes", node.name)
        ]
        told = [slot for node in there for slot in node.told]
        assert len(told) == len(set(told)), {node.name: node.told for node in there}
        assert len(told) <= SLOTS
        for node in there:
            for slot, generation in node.told.items():
                assert generation >= self.generations.get(slot, 0)
                self.generations[slot] = generation

    async def submit(self, pod: str, node: str, uid: str = "", seconds: float = 15.0) -> None:
        token = self.cluster.reviews.issue_token("team", pod=pod, node=node, pod_uid=uid or None)
        ends_at = time.monotonic() + seconds
        while True:
            try:
                async with self.authority.call(self.address, token) as stub:
                    await stub.SubmitJob(
                        request(str(time.monotonic_ns()), one_circuit()), wait_for_ready=True,
                        timeout=10,
                    )  # fmt: skip
            except grpc.aio.AioRpcError as error:
                passing = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
                if error.code() not in passing or time.monotonic() > ends_at:
                    raise
                await asyncio.sleep(0.05)
            else:
                return

    async def restart(self) -> None:
        self.process.kill()
        await asyncio.to_thread(self.process.start)

    async def wait_all_told(self) -> None:
        async with asyncio.timeout(20):
            while sum(len(node.told) for node in self.nodes.values()) < SLOTS:  # noqa: ASYNC110
                await asyncio.sleep(0.02)


@asynccontextmanager
async def run_place(folder: Path) -> AsyncIterator[Place]:
    cluster = ClusterServer()
    async with cluster.serve() as api_client:
        place = Place(folder, cluster, api_client.configuration.host)
        try:
            await asyncio.to_thread(place.process.start)
            yield place
        finally:
            tasks = [node.task for node in place.nodes.values() if node.task is not None]
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            place.process.kill()
            for result in results:
                assert isinstance(result, asyncio.CancelledError), result


def connect(place: Place) -> None:
    for node in place.nodes.values():
        node.task = asyncio.create_task(node.run())


async def test_holders_are_believed_after_a_kill_until_their_node_reports(tmp_path: Path) -> None:
    async with run_place(tmp_path) as place:
        async with AsyncExitStack() as stack:
            for name in NODES:
                token = place.cluster.issue_plugin_token(name)
                plugin = Plugin(place.authority, place.address, token, name)
                await stack.enter_async_context(plugin)
                slot = f"sim-{NODES.index(name)}"
                plugin.report((slot, f"team/pod-{name}"))
                async with asyncio.timeout(10):
                    while slot not in plugin.slots and name == NODES[1]:  # noqa: ASYNC110
                        await asyncio.sleep(0.01)
            await place.submit("pod-node-1", "node-1", "uid-1")
            await place.submit("pod-node-2", "node-2", "uid-2")
        await place.restart()
        # No plugin is connected: the pins are there all the same.
        await place.submit("pod-node-1", "node-1", "uid-1")
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await place.submit("pod-node-1", "node-1", "uid-9")
        assert refused.value.code() is DENIED
        place.nodes["node-1"].pods = {}
        place.nodes["node-2"].pods = {"sim-1": "pod-node-2"}
        connect(place)
        await place.wait_all_told()
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await place.submit("pod-node-1", "node-1", "uid-1")
        assert refused.value.code() is DENIED
        await place.submit("pod-node-2", "node-2", "uid-2")


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_kills_put_no_slot_on_two_nodes(tmp_path: Path) -> None:
    generator = random.Random(5)
    pods = 0
    async with run_place(tmp_path) as place:
        connect(place)
        for kill in range(KILLS):
            await place.wait_all_told()
            ends_at = time.monotonic() + generator.uniform(0.3, 1.5)
            while time.monotonic() < ends_at:
                node = place.nodes[generator.choice(NODES)]
                free = sorted(node.told.keys() - node.pods.keys())
                if free and generator.random() < 0.6:
                    pods += 1
                    node.pods[generator.choice(free)] = f"pod-{pods}"
                    node.report()
                    if generator.random() < 0.3:
                        await place.submit(f"pod-{pods}", node.name)
                elif node.pods:
                    del node.pods[generator.choice(sorted(node.pods))]
                    node.report()
                await asyncio.sleep(generator.uniform(0.0, 0.05))
            if kill == KILLS // 2:
                # Its slots move while the gateway is being killed.
                gone = place.nodes["node-2"]
                place.cluster.objects.delete("nodes", "node-2")
                await asyncio.sleep(generator.uniform(0.0, 0.02))
                gone.pods.clear()
            await place.restart()
            if kill == KILLS // 2:
                # A node that comes back before it was told so believes in slots that are fenced.
                async with asyncio.timeout(20):
                    while len(place.nodes["node-1"].told) < SLOTS or gone.told:  # noqa: ASYNC110
                        await asyncio.sleep(0.02)
                place.cluster.put_node("node-2")
        await place.wait_all_told()
        running = [(pod, node) for node in place.nodes.values() for pod in node.pods.values()]
        for pod, node in running:
            await place.submit(pod, node.name)
        assert len(running) > 0
        assert pods > 20
