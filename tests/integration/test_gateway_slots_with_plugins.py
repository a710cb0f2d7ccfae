"""A gateway and two device plugins as they are, between an API server and two kubelets."""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from tests.integration.slots_support import DENIED, Place, refuse, serve_place
from tests.support.kubelet import AdmissionFailedError, Pod
from tests.support.kubelet_node import CPU, QPU, Node, Plugin, eventually

NODES = ("node-1", "node-2")


@asynccontextmanager
async def open_node(place: Place, name: str) -> AsyncIterator[tuple[Node, Plugin]]:
    """A node with a kubelet and a device plugin that knows the gateway."""
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="node-"))
        node = await stack.enter_async_context(Node(Path(folder)).closing())
        node.settings = replace(
            node.settings,
            node_name=name,
            tls_name="localhost",
            ca_file=place.authority.folder / "ca.crt",
            grace_seconds=30.0,
            keepalive_seconds=10.0,
            silence_seconds=30.0,
        )
        node.token_file.write_text(place.cluster.issue_plugin_token(name))
        node.targets = {f"ipv4:127.0.0.1:{place.address.rpartition(':')[2]}"}
        await node.kubelet.start()
        plugin = await node.plugin()
        yield node, plugin
        assert node.kubelet.record.crashes == []
        assert node.kubelet.record.shrunk == []


@asynccontextmanager
async def open_nodes(place: Place) -> AsyncIterator[dict[str, Node]]:
    async with AsyncExitStack() as stack:
        made = {}
        for name in NODES:
            made[name], _ = await stack.enter_async_context(open_node(place, name))
        await eventually(
            lambda: sum(len(node.kubelet.free(CPU)) for node in made.values()) == 4, 15
        )
        yield made


@pytest.mark.timed
async def test_pods_are_given_slots_and_use_exactly_the_qpu_in_their_environment(
    tmp_path: Path,
) -> None:
    async with serve_place(tmp_path) as place, open_nodes(place) as nodes:
        waited = []
        for name, node in nodes.items():
            assert len(node.kubelet.free(CPU)) == 2
            pod = await node.kubelet.admit(f"pod-{name}", CPU)
            began = time.monotonic()
            assert pod.env["KUBEQPU_GATEWAY"] == "gateway.quantum.svc:7070"
            assert pod.env["KUBEQPU_QPU"] == "penny"
            token = place.cluster.reviews.issue_token(pod.namespace, pod=pod.name, node=name)
            await place.submit(token)
            waited.append(time.monotonic() - began)
            assert (await refuse(place.submit(token, qpu="dime")))[0] is DENIED
            node.kubelet.end(pod)
            await until_denied(place, token)
        assert max(waited) < 1.0
        own = await nodes["node-1"].kubelet.admit("own", QPU)
        assert own.env["KUBEQPU_SLOT"] == "dime-0"
        with pytest.raises(AdmissionFailedError):
            await nodes["node-2"].kubelet.admit("none", QPU)


async def until_denied(place: Place, token: str) -> None:
    """Waits until a right is gone, which is a second after its pod."""
    began = time.monotonic()
    while time.monotonic() - began < 10:
        try:
            await place.submit(token)
        except Exception:
            assert (await refuse(place.submit(token)))[0] is DENIED
            assert time.monotonic() - began < 2.5
            return
        await asyncio.sleep(0.05)
    raise AssertionError("the right does not end")


@pytest.mark.slow
@pytest.mark.timed
async def test_churn_with_kubelets_that_restart_loses_and_doubles_nothing(tmp_path: Path) -> None:
    generator = random.Random(3)
    async with serve_place(tmp_path) as place, open_nodes(place) as nodes:
        running: list[tuple[str, Pod]] = []
        for number in range(40):
            name = generator.choice(NODES)
            kubelet = nodes[name].kubelet
            if kubelet.free(CPU) and generator.random() < 0.7:
                pod = await kubelet.admit(f"pod-{number}", CPU)
                token = place.cluster.reviews.issue_token(pod.namespace, pod=pod.name, node=name)
                await place.submit(token)
                running.append((name, pod))
            elif running:
                where, ended = running.pop(generator.randrange(len(running)))
                nodes[where].kubelet.end(ended)
            if number in (10, 25):
                await kubelet.restart()
                await eventually(lambda: kubelet.capacity(CPU) == 2, 10)  # noqa: B023
            assert sum(node.kubelet.capacity(CPU) for node in nodes.values()) <= 4
        for where, pod in running:
            nodes[where].kubelet.end(pod)
        await eventually(lambda: all(len(n.kubelet.free(CPU)) == 2 for n in nodes.values()), 15)
        line = 'slots{qpu="penny",state="held"}'
        async with asyncio.timeout(15):
            while await place.metric(line) > 0:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
