"""Slots on two nodes: divided, kept, moved, over TLS, with device plugins that obey or do not."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import grpc
import pytest

from kubeqpu.proto.v1 import slots_pb2
from tests.integration.gateway_support import (
    until,
)
from tests.integration.slots_support import (
    DENIED,
    SPREAD,
    UNAVAILABLE,
    Place,
    refuse,
    serve_place,
    two_plugins,
)


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    async with serve_place(tmp_path) as found:
        yield found


async def test_slots_are_divided_once_all_nodes_are_there(place: Place) -> None:
    async with two_plugins(place) as (one, _):
        response = one.responses[-1]
        assert (response.gateway, response.endpoint) == ("default", "gateway.quantum.svc:7070")
        slot = one.slots["penny-0"]
        assert (slot.qpu, slot.resource_name) == ("penny", "kubeqpu.io/cpu-simulator")
        assert (slot.generation, slot.reason) == (1, "")
        assert 0 < slot.score <= 1
        await until(lambda: place.status().get("nodes") is not None)
        assert place.status()["nodes"] == [
            {"name": "node-1", "slots": 2, "held": 0},
            {"name": "node-2", "slots": 2, "held": 0},
        ]


async def test_a_second_stream_takes_the_place_of_the_first(place: Place) -> None:
    async with two_plugins(place) as (one, _), place.plugin("node-1") as newer:
        assert await one.wait_ended() is grpc.StatusCode.ABORTED
        newer.report(("penny-0", "team/web"))
        await newer.wait("penny-0", "penny-2", "dime-0", "dime-1")
        await place.submit(place.pod_token("web"))
        assert await place.metric("slot_streams") == 2


@pytest.mark.timed
async def test_changes_are_pushed_at_once(place: Place) -> None:
    async with two_plugins(place) as (one, two):
        began = time.monotonic()
        place.cluster.objects.put("qpus", cordoned(place, "penny", True))
        await one.wait("dime-0", "dime-1")
        await two.wait()
        assert time.monotonic() - began < 0.5
        assert one.slots["penny-0"].reason == "QPU penny is cordoned by an operator."
        assert len(one.slots) == 4
        assert await place.metric('slots{qpu="penny",state="unhealthy"}') == 4
        place.cluster.objects.put("qpus", cordoned(place, "penny", False))
        await one.wait("penny-0", "penny-2", "dime-0", "dime-1")


def cordoned(place: Place, qpu: str, value: bool) -> dict[str, object]:
    found = place.cluster.objects.get("qpus", qpu)
    assert found is not None
    return {**found, "spec": {**found["spec"], "unschedulable": value}}


@pytest.mark.timed
async def test_a_deleted_node_gives_its_slots_to_the_others(place: Place) -> None:
    async with two_plugins(place) as (one, two):
        two.report(("penny-1", "team/web"))
        token = place.pod_token("web", node="node-2")
        await place.submit(token)
        began = time.monotonic()
        place.cluster.objects.delete("nodes", "node-2")
        await one.wait("penny-0", "penny-1", "penny-2", "penny-3", "dime-0", "dime-1")
        assert time.monotonic() - began < 1
        assert two.slots == {}
        assert {one.slots[f"penny-{n}"].generation for n in (1, 3)} == {2}
        assert {one.slots[f"penny-{n}"].generation for n in (0, 2)} == {1}
        two.report(("penny-1", "team/web"))
        assert (await refuse(place.submit(token)))[0] is DENIED


async def test_a_node_out_of_service_loses_its_slots(place: Place) -> None:
    async with two_plugins(place) as (one, two):
        place.cluster.put_node("node-1", taints=["node.kubernetes.io/out-of-service"])
        await two.wait("penny-0", "penny-1", "penny-2", "penny-3")
        assert one.slots == {}
        # Back in service it is given what nobody has: slots that live on their gateway's node.
        place.cluster.put_node("node-1")
        await one.wait("dime-0", "dime-1")


@pytest.mark.timed
async def test_a_silent_plugin_loses_its_stream_then_its_slots(tmp_path: Path) -> None:
    times = {"slot_silence_seconds": 1.5, "slot_return_seconds": 3.0}
    async with serve_place(tmp_path, **times) as place, two_plugins(place) as (one, two):
        two.report(("penny-1", "team/web"))
        token = place.pod_token("web", node="node-2")
        await place.submit(token)
        began = time.monotonic()

        async def keep_reporting() -> None:
            while True:
                one.report()
                await asyncio.sleep(0.4)

        reporting = asyncio.create_task(keep_reporting())
        try:
            assert await two.wait_ended() is grpc.StatusCode.DEADLINE_EXCEEDED
            assert 1.0 < time.monotonic() - began < 3.0
            # Its holder is believed meanwhile.
            await place.submit(token)
            await one.wait("penny-0", "penny-1", "penny-2", "penny-3", "dime-0", "dime-1")
            assert 3.5 < time.monotonic() - began < 7.0
            assert (await refuse(place.submit(token)))[0] is DENIED
            async with place.plugin("node-2") as again:
                again.report(("penny-1", "team/web"))
                await again.wait()
                assert (await refuse(place.submit(token)))[0] is DENIED
        finally:
            reporting.cancel()
        spread = [moment for moment in one.came_at if moment > began]
        assert max(b - a for a, b in itertools.pairwise(spread)) < 1.0


@pytest.mark.timed
async def test_slots_wait_for_further_nodes_and_stay_then(tmp_path: Path) -> None:
    short = serve_place(tmp_path, slot_settle_seconds=1.0)
    async with short as place, place.plugin("node-2") as two:
        two.report()
        assert 0.8 < await two.wait("penny-0", "penny-1", "penny-2", "penny-3") < 2.5
        async with place.plugin("node-1") as one:
            one.report()
            await one.wait("dime-0", "dime-1")
            await asyncio.sleep(1.2)
            assert len(two.slots) == 4


async def test_only_selected_nodes_are_given_slots(tmp_path: Path) -> None:
    chosen = {**SPREAD, "slot_node_selector": {"quantum": "yes"}}
    async with AsyncExitStack() as stack:
        place = await stack.enter_async_context(serve_place(tmp_path, chosen))
        one = await stack.enter_async_context(place.plugin("node-1"))
        two = await stack.enter_async_context(place.plugin("node-2"))
        one.report()
        two.report()
        await asyncio.sleep(0.5)
        assert one.slots == two.slots == {}
        assert await place.metric('slots{qpu="penny",state="unassigned"}') == 4
        place.cluster.put_node("node-2", labels={"quantum": "yes"})
        await two.wait("penny-0", "penny-1", "penny-2", "penny-3")
        assert one.slots == {}


@pytest.mark.timed
async def test_a_stopping_gateway_ends_streams_at_once(tmp_path: Path) -> None:
    async with serve_place(tmp_path) as place, two_plugins(place) as (one, two):
        began = time.monotonic()
        await place.gateway.stop()
        assert await one.wait_ended() is UNAVAILABLE
        assert await two.wait_ended() is UNAVAILABLE
        assert time.monotonic() - began < 4


async def test_a_plugin_that_reads_nothing_is_let_go(tmp_path: Path) -> None:
    """Its stream is stuck in sending, which must not keep its node's slots."""
    many = {**SPREAD, "name": "p" * 50, "slots": 1000}
    times = {"slot_silence_seconds": 1.0, "slot_return_seconds": 1.0, "slot_settle_seconds": 0.0}
    async with serve_place(tmp_path, many, **times) as place:
        token = place.cluster.issue_plugin_token("node-2")
        # A window that is not widened fills.
        narrow = (("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 4096))
        async with place.authority.open(place.address, token, *narrow) as channel:
            call = channel.stream_stream(
                "/kubeqpu.v1.Slots/Sync",
                request_serializer=slots_pb2.SyncRequest.SerializeToString,
                response_deserializer=slots_pb2.SyncResponse.FromString,
            )()
            for _ in range(8):
                await call.write(slots_pb2.SyncRequest(node="node-2"))
                await asyncio.sleep(0.2)
            async with place.plugin("node-1") as one, asyncio.timeout(10):
                while len(one.slots) < 1000:
                    one.report()
                    await asyncio.sleep(0.2)
