"""Who holds which slot, as gateways learn it, whatever happens to kubelets and plugins."""

import asyncio
import random
import time
from collections.abc import AsyncIterator

import grpc
import pytest
import pytest_asyncio

from tests.integration.deviceplugin_support import open_node
from tests.support.kubelet import AdmissionFailedError, Pod
from tests.support.kubelet_node import QPU, Node, Plugin, eventually
from tests.support.slots_gateway import SlotsGateway, make_slots


@pytest_asyncio.fixture
async def node() -> AsyncIterator[Node]:
    async with open_node() as made:
        await made.kubelet.start()
        yield made
        assert made.kubelet.record.crashes == []
        assert made.kubelet.record.shrunk == []


async def start(node: Node, slots: int = 3) -> tuple[SlotsGateway, Plugin]:
    gateway = await node.gateway(SlotsGateway("lab", make_slots("fez", slots)))
    plugin = await node.plugin()
    await eventually(lambda: len(node.list()) == slots)
    return gateway, plugin


@pytest.mark.timed
async def test_a_start_and_an_end_are_reported_within_a_second(node: Node) -> None:
    gateway, plugin = await start(node)
    await asyncio.sleep(0.6)
    for number in range(3):
        pod = await node.kubelet.admit(f"pod-{number}", QPU, 2)
        expected = dict.fromkeys(pod.devices[QPU], f"tenant/pod-{number}")
        assert await eventually(lambda: gateway.holders == expected) < 1  # noqa: B023
        assert gateway.requests[-1][1].holders[0].container == "main"
        await eventually(lambda: plugin.metric("slots_held", resource=QPU) == 2)
        node.kubelet.end(pod)
        assert await eventually(lambda: gateway.holders == {}) < 1


async def test_the_next_pod_of_a_name_is_another_holder_of_its_slot(node: Node) -> None:
    gateway, _ = await start(node, slots=1)
    pod = await node.kubelet.admit("pod-0", QPU)
    await eventually(lambda: gateway.holders == {"fez-0": "tenant/pod-0"})
    seen = len(gateway.requests)
    # Before a List shows its end, as a StatefulSet does.
    node.kubelet.end(pod)
    await node.kubelet.admit("pod-0", QPU)
    await eventually(
        lambda: len(gateway.requests) > seen and gateway.holders == {"fez-0": "tenant/pod-0"}
    )
    told = [[line.pod for line in request.holders] for _, request in gateway.requests[seen:]]
    assert [] in told


async def test_no_list_is_asked_for_while_a_pod_is_admitted(node: Node) -> None:
    gateway, _ = await start(node)
    # From the choice of a slot until it is on the kubelet's books.
    node.kubelet.faults.allocate_seconds = 0.06
    node.kubelet.faults.list_seconds = 0.05
    chance, late = random.Random(4), []
    for number in range(40):
        pod = await node.kubelet.admit(f"pod-{number}", QPU)
        began = time.monotonic()
        if number % 8 == 0:
            reference = f"tenant/pod-{number}"
            await eventually(lambda: reference in gateway.holders.values())  # noqa: B023
            late.append(time.monotonic() - began)
        await asyncio.sleep(chance.uniform(0, 0.1))
        node.kubelet.end(pod)
    assert node.kubelet.record.lists_amid_admissions == 0
    assert max(late) < 1
    # Lists went on all the while.
    assert len(node.kubelet.record.lists_answered) > 10


async def test_a_superseded_plugin_asks_for_no_list(node: Node) -> None:
    _, old = await start(node)
    new = await node.plugin()
    await eventually(lambda: old.metric("superseded") == 1)
    await asyncio.sleep(1.2)
    seen = [found.metric("pod_resources_seconds_count") for found in (old, new)]
    await asyncio.sleep(2.2)
    assert old.metric("pod_resources_seconds_count") == seen[0]
    assert new.metric("pod_resources_seconds_count") > seen[1]
    # It asks again when it acts again.
    await new.stop()
    await eventually(lambda: old.metric("pod_resources_seconds_count") > seen[0])


async def test_lists_are_asked_for_at_most_five_times_a_second(node: Node) -> None:
    gateway, _ = await start(node, slots=40)
    await asyncio.sleep(2)
    seen = len(node.kubelet.record.lists_answered)
    started = time.monotonic()
    for number in range(40):
        await node.kubelet.admit(f"pod-{number}", QPU)
        await asyncio.sleep(0.05)
    await eventually(lambda: len(gateway.holders) == 40)
    seconds = time.monotonic() - started
    assert len(node.kubelet.record.lists_answered) - seen <= 5 * seconds + 2
    assert node.kubelet.record.lists_refused == 0


async def test_a_restarted_kubelet_whose_list_is_empty_ends_no_holding(node: Node) -> None:
    node.kubelet.faults.empty_seconds = 0.3
    await node.kubelet.restart()
    gateway, plugin = await start(node)
    pod = await node.kubelet.admit("pod", QPU)
    held = {pod.devices[QPU][0]: "tenant/pod"}
    await eventually(lambda: gateway.holders == held)
    before = len(gateway.requests)
    for _ in range(3):
        await node.kubelet.restart(0.05)
        await asyncio.sleep(1)
    told = [
        {found.slot: f"{found.namespace}/{found.pod}" for found in request.holders}
        for _, request in gateway.requests[before:]
    ]
    assert len(told) > 3
    assert all(holders == held for holders in told)
    node.kubelet.end(pod)
    await eventually(lambda: gateway.holders == {})
    assert plugin.metric("failures_total", step="internal") == 0


async def test_a_plugin_that_starts_with_its_kubelet_reports_no_emptiness(node: Node) -> None:
    _, old = await start(node)
    pod = await node.kubelet.admit("pod", QPU)
    await old.stop()
    node.kubelet.faults.empty_seconds = 0.4
    gateway = await node.gateway(SlotsGateway("other", make_slots("torino", 1)))
    await node.kubelet.restart(0.05)
    await node.plugin()
    await eventually(lambda: gateway.requests)
    assert {found.slot for found in gateway.requests[0][1].holders} == {pod.devices[QPU][0]}


async def test_a_new_plugin_lists_held_slots_healthy_before_any_gateway_answers(node: Node) -> None:
    gateway, old = await start(node)
    pod = await node.kubelet.admit("pod", QPU)
    (held,) = pod.devices[QPU]
    await gateway.stop()
    await old.stop()
    await eventually(lambda: not any(node.list().values()))
    new = await node.plugin()
    await eventually(lambda: node.list().get(held))
    # It can say of it what its name says.
    env = await node.kubelet.endpoints[QPU].allocate([held])
    assert env == {"KUBEQPU_QPU": "fez", "KUBEQPU_SLOT": held}
    await eventually(lambda: new.metric("slots_held", resource=QPU) == 1)
    assert new.service.find_missing() == ""


async def test_a_new_plugin_lists_what_the_old_one_did(node: Node) -> None:
    gateway, _ = await start(node)
    # While the new one starts, the gateway has lost two of the slots.
    gateway.say(make_slots("fez", 1))
    node.kubelet.endpoints[QPU].devices = dict.fromkeys(("fez-0", "fez-1", "fez-2"), True)
    await node.plugin()
    await eventually(lambda: len(node.kubelet.record.registrations) == 2)
    await eventually(lambda: node.list() == {"fez-0": True, "fez-1": False, "fez-2": False})


@pytest.mark.parametrize("fault", ["error", "exhausted", "hang"])
async def test_lists_that_fail_end_no_holding_and_no_slot(node: Node, fault: str) -> None:
    gateway, plugin = await start(node)
    pod = await node.kubelet.admit("pod", QPU)
    held = {pod.devices[QPU][0]: "tenant/pod"}
    await eventually(lambda: gateway.holders == held)
    codes = {"error": grpc.StatusCode.INTERNAL, "exhausted": grpc.StatusCode.RESOURCE_EXHAUSTED}
    node.kubelet.faults.list_error = codes.get(fault)
    node.kubelet.faults.hang_lists = fault == "hang"
    await eventually(lambda: plugin.metric("failures_total", step="pod_resources") >= 2, seconds=8)
    assert plugin.metric("backoff_seconds", step="pod_resources") > 0
    assert gateway.holders == held
    assert all(node.list().values())
    await node.kubelet.admit("meanwhile", QPU)
    node.kubelet.faults.list_error, node.kubelet.faults.hang_lists = None, False
    await eventually(lambda: len(gateway.holders) == 2, seconds=8)


async def test_a_pod_that_ended_and_is_still_listed_holds_nothing(node: Node) -> None:
    gateway, _ = await start(node, slots=1)
    first = await node.kubelet.admit("first", QPU)
    await eventually(lambda: gateway.holders == {"fez-0": "tenant/first"})
    # As kubelets before 1.34 do.
    node.kubelet.end(first)
    node.kubelet.faults.finished_pods = [first]
    await node.kubelet.admit("second", QPU)
    await eventually(lambda: gateway.holders == {"fez-0": "tenant/second"})
    before = len(gateway.requests)
    await asyncio.sleep(1.2)
    assert all(
        [found.pod for found in request.holders] == ["second"]
        for _, request in gateway.requests[before:]
    )


async def test_a_broken_pod_resources_socket_keeps_the_plugin_from_reporting(node: Node) -> None:
    node.kubelet.pod_resources_socket.unlink()
    gateway = await node.gateway(SlotsGateway("lab", make_slots("fez", 1)))
    plugin = await node.plugin()
    await eventually(lambda: plugin.metric("failures_total", step="pod_resources") > 2)
    # An empty report would end the rights of pods that hold slots.
    assert gateway.requests == []
    assert "has not said" in plugin.service.find_missing()
    await node.kubelet.restart()
    await eventually(lambda: node.list() == {"fez-0": True})


@pytest.mark.slow
async def test_churn_with_everything_killed_at_random_counts_every_slot_once(node: Node) -> None:
    """Pods come and go while the kubelet, the plugin and the gateway are killed in turn."""
    chance = random.Random(11)
    gateway, plugin = await start(node, slots=6)
    port = gateway.port
    running: list[Pod] = []
    admitted = failed = 0
    deadline = time.monotonic() + 14
    while time.monotonic() < deadline:
        await asyncio.sleep(0.02)
        dice = chance.random()
        if dice < 0.02:
            await node.kubelet.restart(chance.uniform(0, 0.2))
        elif dice < 0.04:
            await plugin.stop()
            plugin = await node.plugin()
        elif dice < 0.06:
            await gateway.stop()
            await asyncio.sleep(chance.uniform(0, 0.3))
            await gateway.start(node.authority, port=port)
        if running and dice > 0.6:
            node.kubelet.end(running.pop(chance.randrange(len(running))))
        try:
            pod = await node.kubelet.admit(f"pod-{admitted + failed}", QPU)
        except (AdmissionFailedError, KeyError):
            failed += 1
            continue
        admitted += 1
        running.append(pod)
        (slot,) = pod.devices[QPU]
        assert pod.env["KUBEQPU_SLOT"] == slot
        assert pod.env["KUBEQPU_QPU"] == "fez"
        # Never more than there are, never one twice.
        held = [name for other in running for name in other.devices[QPU]]
        assert len(held) == len(set(held)) <= 6
        assert len(node.kubelet.healthy(QPU)) <= 6
    assert admitted > 60
    expected = {pod.devices[QPU][0]: f"tenant/{pod.name}" for pod in running}
    await eventually(lambda: gateway.holders == expected, seconds=10)
    await eventually(lambda: node.list() == {f"fez-{number}": True for number in range(6)})
    assert plugin.metric("failures_total", step="internal") == 0
