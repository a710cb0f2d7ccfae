"""The device plugin and a kubelet that starts late, restarts, refuses, hangs and forgets."""

import asyncio
import os
import random
import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.integration.deviceplugin_support import open_node
from tests.support.kubelet import Kubelet
from tests.support.kubelet_node import CPU, QPU, Node, Plugin, eventually
from tests.support.slots_gateway import SlotsGateway, make_slots

SLOTS = {f"fez-{number}": True for number in range(3)}


@pytest_asyncio.fixture
async def node() -> AsyncIterator[Node]:
    async with open_node() as made:
        yield made


async def start(node: Node, *, kubelet: bool = True) -> tuple[SlotsGateway, Plugin]:
    """A gateway with three slots, a kubelet, and a plugin that is registered with it."""
    gateway = await node.gateway(SlotsGateway("lab", make_slots("fez", 3)))
    if kubelet:
        await node.kubelet.start()
    plugin = await node.plugin()
    if kubelet:
        await eventually(lambda: node.list() == SLOTS)
    return gateway, plugin


def assert_sound(node: Node) -> None:
    """What must hold in every test: nothing a real kubelet would break at."""
    record = node.kubelet.record
    assert record.crashes == []
    assert record.shrunk == []
    # Never a registration while the kubelet follows the same list.
    assert [found.others_alive for found in record.registrations if found.others_alive] == []


async def test_a_resource_without_slots_is_not_registered(node: Node) -> None:
    _, plugin = await start(node)
    assert [found.resource for found in node.kubelet.record.registrations] == [QPU]
    assert plugin.metric("registered", resource=QPU) == 1
    assert plugin.metric("registered", resource=CPU) == 0
    assert plugin.service.find_missing() == ""


async def test_a_kubelet_that_starts_late_is_found(node: Node) -> None:
    _, plugin = await start(node, kubelet=False)
    await asyncio.sleep(0.5)
    assert "has not said" in plugin.service.find_missing()
    await node.kubelet.start()
    await eventually(lambda: node.list() == SLOTS)
    assert plugin.metric("failures_total", step="pod_resources") > 0
    assert plugin.service.find_missing() == ""


async def test_a_restarted_kubelet_has_the_list_within_a_tenth_of_a_second(node: Node) -> None:
    _, plugin = await start(node)
    delays = []
    for _ in range(10):
        await node.kubelet.kill()
        # The old socket stays on disk; connecting to it fails.
        assert (node.kubelet.plugin_folder / "kubelet.sock").is_socket()
        await asyncio.sleep(0.1)
        await node.kubelet.start()
        delays.append(await eventually(lambda: node.list() == SLOTS))
    assert sorted(delays)[5] < 0.1
    assert plugin.metric("registrations_total", resource=QPU) == 11
    assert_sound(node)


@pytest.mark.slow
async def test_a_storm_of_restarts_leaves_one_registration_and_one_socket(node: Node) -> None:
    _, plugin = await start(node)
    chance = random.Random(4)
    for _ in range(40):
        await node.kubelet.restart(pause_seconds=chance.choice([0, 0, 0.005, 0.03]))
        await asyncio.sleep(chance.choice([0, 0.001, 0.01, 0.05]))
    await eventually(lambda: node.list() == SLOTS)
    await asyncio.sleep(1.2)
    ours = list(node.kubelet.plugin_folder.glob("kubeqpu-*.sock"))
    assert [path.name for path in ours] == [node.kubelet.endpoints[QPU].socket]
    assert node.list() == SLOTS
    assert len([found for found in node.kubelet.following if found.is_alive]) == 1
    assert plugin.metric("failures_total", step="internal") == 0
    assert_sound(node)


@pytest.mark.timed
async def test_a_refused_registration_is_tried_again_with_growing_waits(node: Node) -> None:
    node.kubelet.faults.refuse_register = 5
    _, plugin = await start(node)
    times = [found.at for found in node.kubelet.record.registrations]
    assert len(times) == 6
    assert 0.2 < times[-1] - times[0] < 4
    assert plugin.metric("failures_total", step="register") == 5
    assert plugin.metric("backoff_seconds", step="register") == 0


@pytest.mark.timed
async def test_a_kubelet_that_dies_while_it_registers_is_no_loss(node: Node) -> None:
    node.kubelet.faults.hang_register = True
    gateway = await node.gateway(SlotsGateway("lab", make_slots("fez", 3)))
    await node.kubelet.start()
    await node.plugin()
    await eventually(lambda: node.kubelet.record.registrations)
    assert gateway.requests
    node.kubelet.faults.hang_register = False
    await node.kubelet.restart(0.05)
    assert await eventually(lambda: node.list() == SLOTS) < 1.5
    assert_sound(node)


async def test_a_kubelet_that_never_asks_for_the_list_is_asked_again(node: Node) -> None:
    node.kubelet.faults.ignore_plugin = True
    gateway = await node.gateway(SlotsGateway("lab", make_slots("fez", 3)))
    await node.kubelet.start()
    plugin = await node.plugin()
    await eventually(lambda: node.kubelet.following)
    node.kubelet.faults.ignore_plugin = False
    await eventually(lambda: node.list() == SLOTS, seconds=8)
    assert len(node.kubelet.record.registrations) == 2
    assert plugin.metric("failures_total", step="register") == 1
    assert gateway.open_streams == 1


@pytest.mark.timed
async def test_a_kubelet_that_dies_before_it_asks_for_the_list_is_not_waited_for(
    node: Node,
) -> None:
    node.kubelet.faults.ignore_plugin = True
    await node.gateway(SlotsGateway("lab", make_slots("fez", 3)))
    await node.kubelet.start()
    await node.plugin()
    await eventually(lambda: node.kubelet.following)
    node.kubelet.faults.ignore_plugin = False
    await node.kubelet.restart(0.05)
    assert await eventually(lambda: node.list() == SLOTS) < 1.5
    assert_sound(node)


@pytest.mark.slow
async def test_a_kubelet_that_stops_to_receive_is_left(node: Node) -> None:
    many = make_slots("fez", 20_000)
    gateway = await node.gateway(SlotsGateway("lab", many))
    node.kubelet.faults.hang_stream = True
    await node.kubelet.start()
    plugin = await node.plugin()
    await eventually(lambda: node.kubelet.record.registrations)
    # Some megabytes are on their way before the plugin notices; a busy one skips lists.
    ends_at, number = time.monotonic() + 60, 0
    while plugin.metric("failures_total", step="list") == 0:
        assert time.monotonic() < ends_at
        gateway.say(make_slots("fez", 20_000, healthy=bool(number % 2)))
        number += 1
        await asyncio.sleep(0.2)
    gateway.say(make_slots("fez", 20_000, healthy=False))
    # Meanwhile nothing else stood still.
    gateway.say(make_slots("aer", 1, CPU))
    node.kubelet.faults.hang_stream = False
    await eventually(lambda: node.list(CPU) == {"aer-0": True})
    await eventually(
        lambda: len(node.list()) == 20_000 and not any(node.list().values()), seconds=30
    )


async def test_a_wiped_folder_is_healed_by_the_next_restart(node: Node) -> None:
    gateway, _ = await start(node)
    for path in node.kubelet.plugin_folder.iterdir():
        path.unlink()
    gateway.say(make_slots("fez", 3, healthy=False))
    await eventually(lambda: not any(node.list().values()))
    await eventually((node.kubelet.plugin_folder / "kubeqpu-deviceplugin.lock").exists)
    assert len(node.kubelet.record.registrations) == 1
    gateway.say(make_slots("fez", 3))
    await node.kubelet.restart(0.05)
    await eventually(lambda: node.list() == SLOTS)
    assert_sound(node)


async def test_another_kubelet_s_socket_ends_the_old_stream_before_it_registers(node: Node) -> None:
    await start(node)
    other = Kubelet(node.folder)
    await other.start()
    try:
        await eventually(lambda: QPU in other.endpoints and other.endpoints[QPU].devices == SLOTS)
        await eventually(lambda: not any(found.is_alive for found in node.kubelet.following))
        assert len(other.record.registrations) == 1
    finally:
        await other.kill()


async def test_changed_rights_of_the_socket_are_no_restart(node: Node) -> None:
    await start(node)
    os.chmod(node.kubelet.plugin_folder / "kubelet.sock", 0o600)
    await asyncio.sleep(1.6)
    assert len(node.kubelet.record.registrations) == 1
    await node.kubelet.restart(0.05)
    await eventually(lambda: node.list() == SLOTS)


async def test_a_new_plugin_supersedes_an_old_one_without_a_gap(node: Node) -> None:
    gateway, old = await start(node)
    new = await node.plugin()
    await eventually(lambda: len(node.kubelet.record.registrations) == 2)
    await eventually(lambda: old.metric("superseded") == 1)
    assert new.metric("superseded") == 0
    assert old.service.find_missing() == ""
    # The gateway keeps one stream for the node; they do not take turns on it.
    await asyncio.sleep(3.5)
    assert len(gateway.tokens) == 2
    assert (old.metric("gateway_streams"), new.metric("gateway_streams")) == (0, 1)
    # One tells the kubelet of a change.
    first, second = node.kubelet.following
    before = len(first.lists)
    gateway.say(make_slots("fez", 3, healthy=False))
    await eventually(lambda: not any(second.devices.values()))
    gateway.say(make_slots("fez", 3))
    await eventually(lambda: all(node.list().values()))
    assert len(first.lists) == before
    # The end of the old one disconnects the new one, which registers again.
    await old.stop()
    await eventually(lambda: len(node.kubelet.record.registrations) == 3)
    await eventually(lambda: node.list() == SLOTS)
    await node.kubelet.admit("pod", QPU)
    assert node.kubelet.record.shrunk == []


async def test_an_old_plugin_takes_over_when_the_new_one_dies(node: Node) -> None:
    _, old = await start(node)
    new = await node.plugin()
    await eventually(lambda: old.metric("superseded") == 1)
    await eventually(lambda: len(node.kubelet.record.registrations) == 2)
    await new.stop()
    await eventually(lambda: old.metric("superseded") == 0)
    await eventually(lambda: node.list() == SLOTS)
    assert len(node.kubelet.record.registrations) == 3
    assert node.kubelet.record.shrunk == []


@pytest.mark.slow
async def test_a_list_that_grew_too_long_is_cut_and_said(node: Node) -> None:
    gateway = await node.gateway(SlotsGateway("lab", make_slots("q", 200_000)))
    await node.kubelet.start()
    plugin = await node.plugin()
    await eventually(lambda: len(node.list()) > 100_000, seconds=30, every=0.1)
    listed = len(node.list())
    assert node.kubelet.endpoints[QPU].error == ""
    await eventually(lambda: plugin.metric("slots_refused", cause="size") == 200_000 - listed)
    assert 3.2 * 2**20 < plugin.metric("list_bytes", resource=QPU) <= 3.5 * 2**20
    # The others follow on.
    gateway.say([*make_slots("q", 10, healthy=False), *make_slots("aer", 1, CPU)])
    await eventually(lambda: node.list(CPU) == {"aer-0": True}, seconds=10, every=0.05)
    await eventually(lambda: not any(node.list().values()), seconds=10, every=0.05)
    assert len(node.list()) == listed
