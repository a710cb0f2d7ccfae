"""Device plugins of two nodes with a real gateway; kubelets and API server are stand-ins."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import pytest_asyncio

from tests.integration.deviceplugin_support import open_node
from tests.integration.slots_support import DENIED, Place, refuse, serve_place
from tests.support.kubelet import AdmissionFailedError, Pod
from tests.support.kubelet_node import CPU, QPU, Node, Plugin, eventually

ALL = {f"penny-{number}" for number in range(4)}


@dataclass
class Cluster:
    """Two nodes with a plugin each, and a gateway with four spread slots and two of its node."""

    place: Place
    nodes: list[Node]
    plugins: list[Plugin]

    def listed(self, resource: str = CPU) -> list[set[str]]:
        """The healthy slots of each node."""
        return [node.kubelet.healthy(resource) for node in self.nodes]


@pytest_asyncio.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    async with AsyncExitStack() as stack:
        place = await stack.enter_async_context(serve_place(tmp_path))
        made = Cluster(place, [], [])
        for name in ("node-1", "node-2"):
            node = await stack.enter_async_context(open_node(keepalive_seconds=3.0))
            node.targets = {place.address}
            node.token_file.write_text(place.cluster.issue_plugin_token(name))
            node.settings = replace(
                node.settings,
                node_name=name,
                tls_name="localhost",
                ca_file=tmp_path / "ca.crt",
                silence_seconds=30.0,
            )
            await node.kubelet.start()
            made.nodes.append(node)
            made.plugins.append(await node.plugin())
        await eventually(lambda: set.union(*made.listed()) == ALL, seconds=20)
        await eventually(lambda: made.listed(QPU)[0] == {"dime-0", "dime-1"}, seconds=10)
        yield made


async def test_slots_are_divided_and_none_is_on_two_nodes(cluster: Cluster) -> None:
    one, two = cluster.listed()
    assert len(one) == len(two) == 2
    assert not one & two
    assert cluster.listed(QPU)[1] == set()


async def test_a_pod_runs_circuits_by_its_slot_from_its_start_to_its_end(cluster: Cluster) -> None:
    first, second = cluster.nodes
    token = cluster.place.pod_token("web", node="node-2")
    pod = await second.kubelet.admit("web", CPU, namespace="team")
    assert pod.env["KUBEQPU_QPU"] == "penny"
    assert pod.env["KUBEQPU_GATEWAY"] == "gateway.quantum.svc:7070"
    # The report is on its way: the gateway waits for it.
    assert await asyncio.wait_for(cluster.place.submit(token), 2)
    code, _ = await refuse(cluster.place.submit(token, qpu="dime"))
    assert code is DENIED
    # Its kubelet restarts, and lists nobody for a moment.
    second.kubelet.faults.empty_seconds = 0.3
    await second.kubelet.restart(0.1)
    assert await cluster.place.submit(token)
    await eventually(lambda: second.list(CPU) and all(second.list(CPU).values()))
    assert await cluster.place.submit(token)
    second.kubelet.end(pod)
    await asyncio.sleep(1.5)
    code, _ = await refuse(cluster.place.submit(token))
    assert code is DENIED
    assert first.kubelet.record.shrunk == second.kubelet.record.shrunk == []


async def test_a_new_plugin_takes_over_at_the_gateway_and_stays(cluster: Cluster) -> None:
    node, old = cluster.nodes[0], cluster.plugins[0]
    before = cluster.listed()[0]
    new = await node.plugin()
    await eventually(lambda: old.metric("superseded") == 1)
    await eventually(lambda: new.metric("gateway_streams") == 1)
    await asyncio.sleep(4)
    assert (old.metric("gateway_streams"), new.metric("gateway_streams")) == (0, 1)
    assert new.metric("failures_total", step="connect") == 0
    await old.stop()
    await asyncio.sleep(0.3)
    await eventually(lambda: cluster.listed()[0] == before)
    assert node.kubelet.record.shrunk == []


async def test_no_slot_is_held_twice_over_many_pods(cluster: Cluster) -> None:
    running: list[tuple[Node, Pod]] = []
    for number in range(60):
        node = cluster.nodes[number % 2]
        if len(running) > 2:
            other, pod = running.pop(0)
            other.kubelet.end(pod)
        try:
            pod = await node.kubelet.admit(f"pod-{number}", CPU, namespace="team")
        except AdmissionFailedError:
            continue
        running.append((node, pod))
        held = [pod.env["KUBEQPU_SLOT"] for _, pod in running]
        assert len(held) == len(set(held))
        assert sum(len(found) for found in cluster.listed()) <= 4
        await asyncio.sleep(0.03)
    holders = len(running)
    shown = f"{holders}/4"
    await eventually(
        lambda: cluster.place.status()["summary"]["slots"] == shown,  # type: ignore[index]
        seconds=10,
    )
