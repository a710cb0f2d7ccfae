"""Slots on two nodes: divided, held, moved and refused, over TLS, with device plugins that obey."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import grpc
import pytest

from kubeqpu.proto.v1 import gateway_pb2, slots_pb2
from kubeqpu.qpu_gateway.qpus import load_factories
from kubeqpu.qpu_gateway.server import Gateway
from tests.integration.gateway_support import (
    Coins,
    InProcessInspector,
    coin_spec,
    make_settings,
    request,
    until,
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


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    async with serve_place(tmp_path) as found:
        yield found


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


async def test_a_holder_runs_circuits_on_its_qpu_only(place: Place) -> None:
    async with two_plugins(place) as (one, _):
        token = place.pod_token("web")
        # Called before the report came: it is waited for.
        early = asyncio.create_task(place.submit(token))
        await asyncio.sleep(0.5)
        assert not early.done()
        one.report(("penny-0", "team/web"))
        job = await asyncio.wait_for(early, 2)
        assert (await place.get(token, job)).id == job
        code, details = await refuse(place.submit(token, qpu="dime"))
        assert code is DENIED
        assert "its pod holds no slot there" in details
        assert await place.metric('slots{qpu="penny",state="held"}') == 1
        assert await place.metric('slots{qpu="penny",state="free"}') == 3
        await until(lambda: place.status()["summary"]["slots"] == "1/4")  # type: ignore[index]
        by_class = coin_spec([[1.0]], qpu="")
        by_class.qpu_class = "standard"
        began = time.monotonic()
        async with place.authority.call(place.address, token) as stub:
            assert (await stub.SubmitJob(request("class", by_class))).qpu == "penny"
        assert time.monotonic() - began < 1
        one.report()
        await until(lambda: place.status()["summary"]["slots"] == "0/4")  # type: ignore[index]
        code, _ = await refuse(place.get(token, job))
        assert code is DENIED


async def test_who_holds_nothing_waits_once(place: Place) -> None:
    async with two_plugins(place):
        token = place.pod_token("idle")
        began = time.monotonic()
        assert (await refuse(place.submit(token)))[0] is DENIED
        first = time.monotonic() - began
        assert (await refuse(place.submit(token)))[0] is DENIED
        assert 2.5 < first < 4.5
        assert time.monotonic() - began - first < 1
        # RBAC needs no slot, and does not wait for one.
        place.cluster.reviews.allow("team", "create")
        await asyncio.sleep(2.1)
        began = time.monotonic()
        await place.submit(place.pod_token("other"))
        assert time.monotonic() - began < 1


async def test_only_the_pod_that_holds_it(place: Place) -> None:
    async with two_plugins(place) as (one, _):
        one.report(("penny-0", "team/web"))
        await place.submit(place.pod_token("web", uid="uid-1"))
        for token in (
            place.pod_token("web", uid="uid-2"),
            place.pod_token("web", node="node-2", uid="uid-1"),
            place.pod_token("web-1", uid="uid-1"),
            place.cluster.reviews.issue_token("team"),
            place.cluster.reviews.issue_token("other", pod="web", pod_uid="uid-1"),
        ):
            assert (await refuse(place.submit(token)))[0] is DENIED
        # The next pod of the name, after a report without the first.
        one.report()
        one.report(("penny-0", "team/web"))
        await place.submit(place.pod_token("web", uid="uid-2"))
        assert (await refuse(place.submit(place.pod_token("web", uid="uid-1"))))[0] is DENIED


async def test_reports_for_other_slots_are_refused(place: Place) -> None:
    async with two_plugins(place) as (one, two):
        two.report(("penny-0", "team/web"), ("else-0", "team/web"), ("penny-1", "team/good"))
        await place.submit(place.pod_token("good", node="node-2"))
        assert (await refuse(place.submit(place.pod_token("web", node="node-2"))))[0] is DENIED
        two.report(("penny-0", "team/web"), ("else-0", "team/web"), ("penny-1", "team/good"))
        await asyncio.sleep(0.2)
        for reason in ("elsewhere", "unknown"):
            line = f'slot_reports_refused_total{{reason="{reason}"}}'
            assert await place.metric(line) == 1
        assert one.healthy == {"penny-0", "penny-2", "dime-0", "dime-1"}
        two.report(node="node-1")
        assert await two.wait_ended() is DENIED
        assert await place.metric('slot_reports_refused_total{reason="node"}') == 1


@pytest.mark.parametrize("who", ["account", "no pod", "team's pod"])
async def test_nobody_but_the_plugin_reports(place: Place, who: str) -> None:
    reviews = place.cluster.reviews
    token = {
        "account": reviews.issue_token("kubeqpu-plugin", "other", pod="p"),
        "no pod": reviews.issue_token("kubeqpu-plugin", "device-plugin"),
        "team's pod": reviews.issue_token("team", "device-plugin", pod="p"),
    }[who]
    async with place.plugin("node-1", token) as plugin:
        plugin.report(("penny-0", "team/web"))
        assert await plugin.wait_ended() is DENIED
    assert await place.metric("slot_streams") == 0


async def test_a_second_stream_takes_the_place_of_the_first(place: Place) -> None:
    async with two_plugins(place) as (one, _), place.plugin("node-1") as newer:
        assert await one.wait_ended() is grpc.StatusCode.ABORTED
        newer.report(("penny-0", "team/web"))
        await newer.wait("penny-0", "penny-2", "dime-0", "dime-1")
        await place.submit(place.pod_token("web"))
        assert await place.metric("slot_streams") == 2


async def test_changes_are_pushed_at_once(place: Place) -> None:
    async with two_plugins(place) as (one, two):
        began = time.monotonic()
        place.cluster.objects.put("qpus", cordoned(place, "penny", True))
        await one.wait("dime-0", "dime-1")
        await two.wait()
        print("cordon", time.monotonic() - began)
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


async def test_while_the_plugin_is_away_callers_are_told_to_try_again(place: Place) -> None:
    async with two_plugins(place):
        pass
    code, details = await refuse(place.submit(place.pod_token("web")))
    assert code is UNAVAILABLE
    assert "device plugin of node node-1 is not connected" in details
    assert (await refuse(place.submit(place.pod_token("web", node="node-9"))))[0] is DENIED


@pytest.mark.parametrize("detached", [False, True])
async def test_jobs_of_a_pod_that_is_gone_are_cancelled(tmp_path: Path, detached: bool) -> None:
    async with serve_place(tmp_path, orphan_grace_seconds=1.0) as place:
        place.cluster.reviews.allow("team", "get")
        watcher = place.cluster.reviews.issue_token("team")
        place.coins.by_name["penny"].available.clear()
        async with two_plugins(place) as (one, _):
            one.report(("penny-0", "team/web"), ("penny-2", "team/other"))
            jobs = [await place.submit(place.pod_token("web"), detached=detached) for _ in range(2)]
            kept = await place.submit(place.pod_token("other"))
            # Away for less than the grace, it keeps them.
            one.report(("penny-2", "team/other"))
            await asyncio.sleep(0.5)
            one.report(("penny-0", "team/web"), ("penny-2", "team/other"))
            await asyncio.sleep(1.5)
            assert (await place.get(watcher, jobs[0])).state != gateway_pb2.JOB_STATE_CANCELLED
            one.report(("penny-2", "team/other"))
            await asyncio.sleep(2.5)
            states = [await place.get(watcher, job) for job in jobs]
            assert (await place.get(watcher, kept)).state == gateway_pb2.JOB_STATE_RUNNING
            if detached:
                assert all(job.state != gateway_pb2.JOB_STATE_CANCELLED for job in states)
            else:
                assert {job.state for job in states} == {gateway_pb2.JOB_STATE_CANCELLED}
                assert "because pod team/web, which submitted it" in states[0].message
                # Nothing of them is left at the provider.
                await until(lambda: place.coins.by_name["penny"].cancelled > 0)


async def test_a_stopping_gateway_ends_streams_at_once(tmp_path: Path) -> None:
    async with serve_place(tmp_path) as place, two_plugins(place) as (one, two):
        began = time.monotonic()
        await place.gateway.stop()
        assert await one.wait_ended() is UNAVAILABLE
        assert await two.wait_ended() is UNAVAILABLE
        assert time.monotonic() - began < 4


async def test_a_plugin_that_reads_nothing_is_let_go(tmp_path: Path) -> None:
    """Its stream is stuck in sending, which must not keep its node's slots."""
    many = {**SPREAD, "slots": 1000}
    times = {"slot_silence_seconds": 1.0, "slot_return_seconds": 1.0}
    async with serve_place(tmp_path, many, **times) as place:
        channel = place.authority.open(place.address, place.cluster.issue_plugin_token("node-2"))
        async with channel, place.plugin("node-1") as one:
            call = channel.stream_stream(
                "/kubeqpu.v1.Slots/Sync",
                request_serializer=slots_pb2.SyncRequest.SerializeToString,
                response_deserializer=slots_pb2.SyncResponse.FromString,
            )()
            await call.write(slots_pb2.SyncRequest(node="node-2"))
            async with asyncio.timeout(10):
                while len(one.slots) < 1000:
                    one.report()
                    await asyncio.sleep(0.2)
