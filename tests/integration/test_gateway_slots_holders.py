"""Who may use a QPU because of the slot it holds, and what is left of it afterwards."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from kubeqpu.proto.v1 import gateway_pb2
from tests.integration.gateway_support import (
    coin_spec,
    request,
    until,
)
from tests.integration.slots_support import (
    DENIED,
    UNAVAILABLE,
    Place,
    refuse,
    serve_place,
    two_plugins,
)
from tests.support.slots import Plugin


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    async with serve_place(tmp_path) as found:
        yield found


@pytest.mark.timed
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
        began = time.monotonic()
        code, _ = await refuse(place.get(token, job))
        assert code is DENIED
        assert time.monotonic() - began < 1


@pytest.mark.timed
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
        place.cluster.reviews.allow("team", "create", qpu="penny")
        await asyncio.sleep(2.1)
        began = time.monotonic()
        await place.submit(place.pod_token("other"))
        by_class = coin_spec([[1.0]], qpu="")
        by_class.qpu_class = "standard"
        async with place.authority.call(place.address, place.pod_token("third")) as stub:
            assert (await stub.SubmitJob(request("class", by_class))).qpu == "penny"
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
        two.report(
            ("penny-0", "team/web"),
            ("penny-9", "team/web"),
            ("else-0", "team/web"),
            ("penny-1", "team/good"),
        )
        await place.submit(place.pod_token("good", node="node-2"))
        assert (await refuse(place.submit(place.pod_token("web", node="node-2"))))[0] is DENIED
        two.report(
            ("penny-0", "team/web"),
            ("penny-9", "team/web"),
            ("else-0", "team/web"),
            ("penny-1", "team/good"),
        )
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
            place.coins.by_name["penny"].available.set()


@asynccontextmanager
async def two_pods(folder: Path) -> AsyncIterator[tuple[Place, Plugin]]:
    """Pods web and other hold a slot each of a QPU that is busy; the grace is a second."""
    async with serve_place(folder, orphan_grace_seconds=1.0) as place:
        place.cluster.reviews.allow("team", "get")
        place.coins.by_name["penny"].available.clear()
        async with two_plugins(place) as (one, _):
            one.report(("penny-0", "team/web"), ("penny-2", "team/other"))
            yield place, one
        place.coins.by_name["penny"].available.set()


async def test_the_next_pod_goes_on_with_the_job_of_its_key(tmp_path: Path) -> None:
    async with two_pods(tmp_path) as (place, one):
        watcher = place.cluster.reviews.issue_token("team")
        job = await place.submit(place.pod_token("web", uid="uid-1"), key="step")
        one.report(("penny-2", "team/other"))
        one.report(("penny-0", "team/web-2"), ("penny-2", "team/other"))
        assert await place.submit(place.pod_token("web-2"), key="step") == job
        await asyncio.sleep(2.5)
        assert (await place.get(watcher, job)).state == gateway_pb2.JOB_STATE_RUNNING
        # And ends with that one.
        one.report(("penny-2", "team/other"))
        await asyncio.sleep(2.5)
        assert (await place.get(watcher, job)).state == gateway_pb2.JOB_STATE_CANCELLED
        # Whoever comes later begins anew.
        one.report(("penny-0", "team/web-3"))
        again = await place.submit(place.pod_token("web-3"), key="step")
        assert again != job
        assert (await place.get(watcher, job)).idempotency_key == f"step#orphaned-{job}"


async def test_a_job_that_two_pods_want_ends_with_neither(tmp_path: Path) -> None:
    async with two_pods(tmp_path) as (place, one):
        watcher = place.cluster.reviews.issue_token("team")
        job = await place.submit(place.pod_token("web"), key="step")
        assert await place.submit(place.pod_token("other"), key="step") == job
        one.report()
        await asyncio.sleep(2.5)
        assert (await place.get(watcher, job)).state == gateway_pb2.JOB_STATE_RUNNING


async def test_a_qpu_of_another_gateway_gives_no_slots(tmp_path: Path) -> None:
    async with serve_place(tmp_path) as place, two_plugins(place) as (one, _):
        await until(lambda: "gateway" in place.status())
        found = place.cluster.objects.get("qpus", "penny")
        assert found is not None
        status = {**found["status"], "gateway": "other.elsewhere.svc:7070"}
        place.cluster.objects.put("qpus", {**found, "status": status})
        await one.wait("dime-0", "dime-1", seconds=5)
        assert "belongs to the gateway at other" in one.slots["penny-0"].reason
