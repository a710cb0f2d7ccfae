"""The device plugin and gateways that come, go, fall silent, lie and refuse."""

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest
import pytest_asyncio

from kubeqpu.proto.v1 import slots_pb2
from tests.integration.deviceplugin_support import open_node
from tests.support.kubelet import AdmissionFailedError
from tests.support.kubelet_node import CPU, QPU, Node, eventually
from tests.support.slots_gateway import TOKEN, Authority, SlotsGateway, make_slots


@pytest_asyncio.fixture
async def node() -> AsyncIterator[Node]:
    async with open_node() as made:
        await made.kubelet.start()
        yield made
        assert made.kubelet.record.crashes == []
        assert made.kubelet.record.shrunk == []


async def test_a_pod_is_told_its_gateway_its_qpu_and_its_slot(node: Node) -> None:
    await node.gateway(SlotsGateway("lab", make_slots("fez", 2, score=0.3)))
    await node.gateway(SlotsGateway("other", make_slots("torino", 2, score=0.8)))
    await node.plugin()
    await eventually(lambda: len(node.list()) == 4)
    pod = await node.kubelet.admit("one", QPU)
    assert pod.env == {
        "KUBEQPU_GATEWAY": "kubeqpu-gateway-other.quantum.svc:7070",
        "KUBEQPU_QPU": "torino",
        "KUBEQPU_SLOT": "torino-0",
    }
    # Two of one QPU, rather than the best one left and another.
    pod = await node.kubelet.admit("two", QPU, 2)
    assert pod.env["KUBEQPU_SLOT"] == "fez-0,fez-1"
    assert pod.env["KUBEQPU_QPU"] == "fez,fez"
    with pytest.raises(AdmissionFailedError, match="no healthy devices"):
        await node.kubelet.admit("three", QPU, 2)


async def test_an_unknown_slot_is_refused_with_a_sentence_and_disturbs_nothing(node: Node) -> None:
    await node.gateway(SlotsGateway("lab", make_slots("fez", 2)))
    plugin = await node.plugin()
    await eventually(lambda: len(node.list()) == 2)
    endpoint = node.kubelet.endpoints[QPU]
    with pytest.raises(grpc.aio.AioRpcError, match="No slot 'fez-7'") as caught:
        await endpoint.allocate(["fez-0", "fez-7"])
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    assert plugin.metric("allocations_total", resource=QPU, result="refused") == 1
    assert endpoint.is_alive
    assert len(node.kubelet.record.registrations) == 1
    # Also the half of it that exists was not given away.
    await eventually(lambda: plugin.metric("slots_held", resource=QPU) == 0)
    await node.kubelet.admit("pod", QPU, 2)
    assert plugin.metric("allocations_total", resource=QPU, result="given") == 1
    assert plugin.metric("allocate_seconds_count") == 1


async def test_an_outage_reaches_the_kubelet_and_heals(node: Node) -> None:
    gateway = await node.gateway(SlotsGateway("lab", make_slots("fez", 3)))
    await node.plugin()
    await eventually(lambda: len(node.list()) == 3)
    for healthy in (False, True):
        gateway.say(make_slots("fez", 3, healthy=healthy))
        assert await eventually(lambda: set(node.list().values()) == {healthy}) < 0.5  # noqa: B023


async def test_changes_that_come_together_are_sent_together(node: Node) -> None:
    gateway = await node.gateway(SlotsGateway("lab", make_slots("fez", 3)))
    await node.plugin()
    await eventually(lambda: len(node.list()) == 3)
    before = len(node.kubelet.endpoints[QPU].lists)
    for number in range(200):
        gateway.say(make_slots("fez", 3, healthy=bool(number % 2)))
        await asyncio.sleep(0.001)
    await eventually(lambda: all(node.list().values()))
    await asyncio.sleep(0.1)
    assert all(node.list().values())
    # The kubelet writes each to disk.
    assert len(node.kubelet.endpoints[QPU].lists) - before <= 40


async def test_a_slot_withdrawn_while_it_is_given_away_is_kept_listed(node: Node) -> None:
    gateway = await node.gateway(SlotsGateway("lab", make_slots("fez", 3)))
    await node.plugin()
    await eventually(lambda: len(node.list()) == 3)
    node.kubelet.faults.allocate_seconds = 0.2
    admitting = asyncio.create_task(node.kubelet.admit("pod", QPU, 3))
    await asyncio.sleep(0.1)
    gateway.say([])
    pod = await admitting
    assert node.list() == {"fez-0": False, "fez-1": False, "fez-2": False}
    # One that goes in the moment before Allocate is refused: it may be on another node already.
    await eventually(lambda: len(gateway.holders) == 3)
    node.kubelet.end(pod)
    await eventually(lambda: gateway.holders == {})
    with pytest.raises(grpc.aio.AioRpcError, match="no longer has it on this node"):
        await node.kubelet.endpoints[QPU].allocate(["fez-0"])


async def test_without_its_gateway_a_held_slot_stays_healthy_and_a_free_one_heals_later(
    node: Node,
) -> None:
    gateway = await node.gateway(SlotsGateway("lab", make_slots("fez", 2)))
    plugin = await node.plugin()
    await eventually(lambda: len(node.list()) == 2)
    pod = await node.kubelet.admit("pod", QPU)
    await eventually(lambda: gateway.holders)
    port = gateway.port
    await gateway.stop()
    await asyncio.sleep(0.2)
    assert node.list() == {"fez-0": True, "fez-1": True}
    held = pod.devices[QPU][0]
    await eventually(lambda: node.list() == {"fez-0": False, "fez-1": False} | {held: True})
    assert plugin.metric("gateway_streams") == 0
    assert plugin.metric("failures_total", step="connect") > 0
    await asyncio.sleep(1)
    assert node.list()[held]
    await gateway.start(node.authority, port=port)
    await eventually(lambda: all(node.list().values()))
    # The pod ends while the gateway is away again: its slot is a free one.
    await gateway.stop()
    node.kubelet.end(pod)
    await eventually(lambda: not any(node.list().values()))


async def test_of_two_gateways_with_one_slot_the_first_keeps_it(node: Node) -> None:
    first = await node.gateway(SlotsGateway("lab", make_slots("fez", 1)))
    plugin = await node.plugin()
    await eventually(lambda: node.list() == {"fez-0": True})
    second = await node.gateway(SlotsGateway("other", make_slots("fez", 2, healthy=False)))
    await eventually(lambda: node.list() == {"fez-0": True, "fez-1": False})
    await eventually(lambda: plugin.metric("slots_refused", cause="conflict") == 1)
    pod = await node.kubelet.admit("pod", QPU)
    assert pod.env["KUBEQPU_GATEWAY"] == first.endpoint
    second.say(make_slots("fez", 2)[1:])
    await eventually(lambda: plugin.metric("slots_refused", cause="conflict") == 0)
    assert node.list() == {"fez-0": True, "fez-1": True}


async def test_a_resource_that_is_not_ours_is_refused_and_the_rest_of_the_offer_counts(
    node: Node,
) -> None:
    wrong = make_slots("gpu", 2, "nvidia.com/gpu")
    await node.gateway(SlotsGateway("lab", [*wrong, *make_slots("fez", 1), *make_slots("", 1)]))
    plugin = await node.plugin()
    await eventually(lambda: node.list() == {"fez-0": True})
    assert {found.resource for found in node.kubelet.record.registrations} == {QPU}
    await eventually(lambda: plugin.metric("slots_refused", cause="resource") == 2)
    assert plugin.metric("slots_refused", cause="malformed") == 1


async def test_an_unreadable_token_stops_nothing_else_and_heals(node: Node) -> None:
    gateway = await node.gateway(SlotsGateway("lab", make_slots("fez", 1)))
    node.token_file.unlink()
    plugin = await node.plugin()
    await eventually(lambda: plugin.metric("failures_total", step="credentials") > 1)
    assert gateway.tokens == []
    # It acts all the same.
    await eventually(lambda: plugin.service.find_missing() == "")
    node.token_file.write_text("second-token\n")
    await eventually(lambda: node.list() == {"fez-0": True})
    assert gateway.tokens == ["Bearer second-token"]
    assert plugin.metric("backoff_seconds", step="credentials") == 0


async def test_a_renewed_token_is_used_for_the_next_stream(node: Node) -> None:
    gateway = await node.gateway(SlotsGateway("lab", make_slots("fez", 1)))
    await node.plugin()
    await eventually(lambda: node.list() == {"fez-0": True})
    node.token_file.write_text("renewed")
    port = gateway.port
    await gateway.stop()
    await gateway.start(node.authority, port=port)
    await eventually(lambda: gateway.tokens == [f"Bearer {TOKEN}", "Bearer renewed"])
    assert node.list() == {"fez-0": True}


async def test_a_gateway_that_another_authority_signed_gets_no_token(node: Node) -> None:
    (node.folder / "other").mkdir()
    impostor = SlotsGateway("lab", make_slots("fez", 1))
    await impostor.start(Authority(node.folder / "other"))
    assert node.targets is not None
    node.targets.add(impostor.target)
    await node.gateway(SlotsGateway("other", make_slots("torino", 1)))
    plugin = await node.plugin()
    await eventually(lambda: node.list() == {"torino-0": True})
    await eventually(lambda: plugin.metric("failures_total", step="connect") > 1)
    assert impostor.tokens == []
    await impostor.stop()


async def test_a_gateway_that_refuses_is_asked_again_ever_later(node: Node) -> None:
    gateway = SlotsGateway("lab", make_slots("fez", 1))
    gateway.refuse = grpc.StatusCode.PERMISSION_DENIED
    await node.gateway(gateway)
    plugin = await node.plugin()
    await asyncio.sleep(2.5)
    assert 2 <= len(gateway.tokens) <= 8
    assert plugin.metric("backoff_seconds", step="connect") > 0
    gateway.refuse = None
    await eventually(lambda: node.list() == {"fez-0": True}, seconds=6)
    assert plugin.metric("backoff_seconds", step="connect") == 0


async def test_a_gateway_that_falls_silent_is_left_and_found_again(node: Node) -> None:
    gateway = await node.gateway(SlotsGateway("lab", make_slots("fez", 1)))
    plugin = await node.plugin()
    await eventually(lambda: node.list() == {"fez-0": True})
    gateway.mute = True
    await eventually(lambda: node.list() == {"fez-0": False})
    assert plugin.metric("gateway_streams") == 0
    gateway.mute = False
    await eventually(lambda: node.list() == {"fez-0": True})


async def test_an_answer_that_names_no_gateway_counts_for_nothing(node: Node) -> None:
    gateway = SlotsGateway("", make_slots("fez", 1))
    await node.gateway(gateway)
    plugin = await node.plugin()
    await eventually(lambda: plugin.metric("failures_total", step="connect") > 0)
    assert node.list() == {}
    gateway.name = "lab"
    await eventually(lambda: node.list() == {"fez-0": True})


async def test_replicas_of_one_gateway_stand_in_for_each_other(node: Node) -> None:
    slots = make_slots("fez", 2)
    first = await node.gateway(SlotsGateway("lab", slots))
    second = await node.gateway(SlotsGateway("lab", slots))
    plugin = await node.plugin()
    await eventually(lambda: plugin.metric("gateway_streams") == 2 and len(node.list()) == 2)
    await node.kubelet.admit("pod", QPU)
    await eventually(lambda: first.holders and second.holders)
    await first.stop()
    await eventually(lambda: plugin.metric("gateway_streams") == 1)
    await asyncio.sleep(1)
    assert all(node.list().values())
    second.say(make_slots("fez", 2, healthy=False))
    await eventually(lambda: not any(node.list().values()))


async def test_gateways_are_found_and_left_as_dns_says(node: Node) -> None:
    first = await node.gateway(SlotsGateway("lab", make_slots("fez", 1)))
    plugin = await node.plugin()
    await eventually(lambda: node.list() == {"fez-0": True})
    second = await node.gateway(SlotsGateway("other", make_slots("aer", 1, CPU)))
    await eventually(lambda: node.list(CPU) == {"aer-0": True})
    # An address that is gone from DNS keeps its stream while that lasts.
    assert node.targets is not None
    node.targets.remove(first.target)
    await eventually(lambda: plugin.metric("gateway_addresses") == 1)
    await asyncio.sleep(0.3)
    assert first.open_streams == 1
    await first.stop()
    await eventually(lambda: node.list() == {"fez-0": False})
    failures = plugin.metric("failures_total", step="connect")
    await asyncio.sleep(1)
    assert plugin.metric("failures_total", step="connect") == failures
    assert second.open_streams == 1


async def test_dns_that_fails_costs_no_stream(node: Node) -> None:
    gateway = await node.gateway(SlotsGateway("lab", make_slots("fez", 1)))
    plugin = await node.plugin()
    await eventually(lambda: node.list() == {"fez-0": True})
    targets, node.targets = node.targets, None
    await eventually(lambda: plugin.metric("failures_total", step="discover") > 2)
    assert gateway.open_streams == 1
    # A gateway that restarts meanwhile is found where it was.
    port = gateway.port
    await gateway.stop()
    await gateway.start(node.authority, port=port)
    await eventually(lambda: gateway.open_streams == 1)
    node.targets = targets
    await eventually(lambda: plugin.metric("backoff_seconds", step="discover") == 0)


async def test_holders_are_reported_from_time_to_time_as_a_sign_of_life(node: Node) -> None:
    gateway = await node.gateway(SlotsGateway("lab", make_slots("fez", 1)))
    await node.plugin()
    await eventually(lambda: len(gateway.requests) >= 4)
    assert {request.node for _, request in gateway.requests} == {"node-1"}
    gaps = [
        after[0] - before[0]
        for before, after in zip(gateway.requests, gateway.requests[1:], strict=False)
    ]
    assert max(gaps) < 1
    assert gateway.requests[0][1] == slots_pb2.SyncRequest(node="node-1")
