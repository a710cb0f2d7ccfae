"""Gates are lifted when a QPU fits, and say until then what for; against a stand-in."""

import asyncio
import time

import pytest

from kubeqpu.common import names
from tests.support.object_server import ObjectServer
from tests.unit.admission.gating import (
    gated_job,
    gated_job_set,
    gated_pod,
    is_gated,
    keeping,
    make_class,
    make_qpu,
)
from tests.unit.admission.webhook_objects import GATED_BY, Object

MANY = 500


async def test_each_kind_goes_when_a_qpu_fits_and_gates_of_others_stay() -> None:
    async with keeping() as room:
        room.put(gated_pod("p", "example.com/licence"))
        room.put(gated_job("j", f"example.com/licence,{names.GATE}"))
        await room.until(lambda: room.said("Pod", "p") and room.said("Job", "j"))
        assert room.said("Pod", "p").startswith("NoQPU: No QPU offers kubeqpu.io/qpu")
        await room.until(lambda: len(room.events("NoQPU")) == 2)
        assert room.sample("waiting", kind="Pod", reason="NoQPU") == 1
        room.server.put("qpus", make_qpu("fez", ready=True))
        await room.until(lambda: room.still_gated() == 0)
        assert room.get("Pod", "p")["spec"]["schedulingGates"] == [{"name": "example.com/licence"}]
        annotations = room.get("Job", "j")["metadata"]["annotations"]
        assert annotations == {GATED_BY: "example.com/licence"}
        await room.until(lambda: len(room.events("GateLifted")) == 2)
        about = {event["regarding"]["kind"]: event["regarding"] for event in room.events("NoQPU")}
        assert about["Job"]["apiVersion"] == "batch/v1"
        assert about["Pod"]["uid"] == room.get("Pod", "p")["metadata"]["uid"]
        assert room.sample("waiting", kind="Pod", reason="NoQPU") == 0
        await room.until(lambda: room.sample("lifted_total", kind="Job") == 1)
        await room.until(lambda: room.sample("lift_seconds_count") == 2)


async def test_an_annotation_that_named_our_gate_alone_goes() -> None:
    async with keeping() as room:
        room.server.put("qpus", make_qpu("fez", ready=True))
        room.put(gated_job("j"))
        await room.until(lambda: room.still_gated() == 0)
        assert room.get("Job", "j")["metadata"]["annotations"] == {}


@pytest.mark.timed
async def test_many_go_within_a_second_while_as_many_wait_for_something_else() -> None:
    server = ObjectServer()
    for number in range(MANY):
        server.put("pods", gated_pod(f"p{number}"))
        server.put("jobs", greedy_job(f"j{number}"))
    server.put("qpus", make_qpu("fez", ready=False))
    async with keeping(server) as room:
        await room.until(lambda: room.sample("waiting", kind="Pod", reason="NotReady") == MANY)
        room.server.put("qpus", make_qpu("fez", ready=True, qubits=10))
        began = time.monotonic()
        await room.until(lambda: room.still_gated() == MANY, seconds=20)
        seconds = time.monotonic() - began
        await room.until(lambda: room.sample("lifted_total", kind="Pod") == MANY)
        assert seconds < 1.0


def greedy_job(name: str) -> Object:
    """A Job that needs more qubits than any QPU of the tests has."""
    made = gated_job(name)
    made["spec"]["template"]["metadata"]["annotations"] = {names.ANNOTATION_MIN_QUBITS: "200"}
    return made


async def test_a_change_between_sight_and_write_is_seen_and_tried_again() -> None:
    async with keeping() as room:
        room.put(gated_pod("p"))
        await room.until(lambda: room.said("Pod", "p"))
        tries = 0

        def change(method: str, path: str) -> int | None:
            nonlocal tries
            if (method, path.rsplit("/", 1)[-1]) == ("PATCH", "p") and not tries:
                tries += 1
                changed = room.get("Pod", "p")
                changed["metadata"]["annotations"]["example.com/seen"] = "yes"
                room.put(changed)
            return None

        room.server.refuse = change
        room.server.put("qpus", make_qpu("fez", ready=True))
        await room.until(lambda: room.still_gated() == 0)
        assert tries == 1
        assert room.get("Pod", "p")["metadata"]["annotations"] == {"example.com/seen": "yes"}
        await room.until(lambda: room.sample("lifted_total", kind="Pod") == 1)


async def test_refusals_of_one_do_not_hold_up_others_and_end() -> None:
    async with keeping() as room:
        room.server.put("qpus", make_qpu("fez", ready=True))
        room.server.refuse = lambda method, path: (
            403 if method == "PATCH" and path.endswith("/p0") else None
        )
        for number in range(5):
            room.put(gated_pod(f"p{number}"))
        await room.until(lambda: room.still_gated() == 1)
        assert is_gated(room.get("Pod", "p0"))
        room.server.refuse = lambda method, path: None
        await room.until(lambda: room.still_gated() == 0)


async def test_who_does_not_lead_writes_nothing_and_then_judges_anew() -> None:
    async with keeping() as room:
        room.leads = False
        room.server.put("qpus", make_qpu("fez", ready=True))
        room.put(gated_pod("p"))
        room.put(gated_pod("q", min_qubits="200"))
        await asyncio.sleep(0.5)
        assert room.server.count("PATCH", "") == 0
        room.leads = True
        await room.until(lambda: not is_gated(room.get("Pod", "p")))
        await room.until(lambda: room.said("Pod", "q").startswith("TooFewQubits: "))


async def test_a_class_that_gates_no_more_lets_go() -> None:
    async with keeping() as room:
        room.server.put("qpuclasses", make_class("fast", "Gate"))
        room.put(gated_pod("p", **{"class": "fast"}))
        await room.until(lambda: room.said("Pod", "p"))
        room.server.put("qpuclasses", make_class("fast", "Check"))
        await room.until(lambda: room.still_gated() == 0)


async def test_a_spent_budget_keeps_the_gate_and_says_which() -> None:
    async with keeping() as room:
        room.server.put("qpus", make_qpu("fez", ready=True))
        quota: Object = {
            "apiVersion": "kubeqpu.io/v1alpha1", "kind": "QPUQuota",
            "metadata": {"name": "daily", "namespace": "lab"},
            "spec": {"hard": {"shots": 1000}, "window": "24h"},
            "status": {"used": {"shots": 1000}},
        }  # fmt: skip
        room.server.put("qpuquotas", quota)
        await room.until(lambda: room.catalogue.quotas)
        room.put(gated_job("j"))
        await room.until(lambda: room.said("Job", "j"))
        assert room.said("Job", "j").startswith(
            "BudgetSpent: QPUQuota daily is spent: 1000 of 1000 shots used within 24h."
        )
        room.server.put("qpuquotas", {**quota, "status": {"used": {"shots": 999}}})
        await room.until(lambda: room.still_gated() == 0)


async def test_job_sets_are_kept_when_their_kind_is_served() -> None:
    server = ObjectServer()
    server.kinds["jobset.x-k8s.io/v1alpha2"] = ["jobsets"]
    server.put("jobsets", gated_job_set("s"))
    server.put("qpus", make_qpu("fez", ready=True))
    async with keeping(server) as room:
        await room.until(lambda: room.still_gated() == 0)
        await room.until(lambda: room.sample("lifted_total", kind="JobSet") == 1)


async def test_what_ended_or_is_being_deleted_is_left_alone() -> None:
    async with keeping() as room:
        room.put({**gated_job("done"), "status": {"conditions": [
            {"type": "Complete", "status": "True"}]}})  # fmt: skip
        room.put({**gated_pod("failed"), "status": {"phase": "Failed"}})
        gone = gated_pod("gone")
        gone["metadata"]["deletionTimestamp"] = "2026-11-23T12:00:00Z"
        room.put(gone)
        room.server.put("qpus", make_qpu("fez", ready=True))
        room.put(gated_pod("p"))
        await room.until(lambda: room.still_gated() == 3)
        await asyncio.sleep(0.3)
        assert room.server.count("PATCH", "") == 1
