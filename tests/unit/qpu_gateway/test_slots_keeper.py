"""What the keeper of slots does when things around it go wrong."""

import asyncio
import time
from datetime import UTC, datetime

import pytest

from kubeqpu.common.qpu import ConditionStatus
from kubeqpu.proto.v1 import qpu_pb2
from kubeqpu.qpu_gateway.access import Caller, Pod, Verb
from kubeqpu.qpu_gateway.cluster.statuses import ACCEPTING, CALIBRATED, READY, Verdict
from kubeqpu.qpu_gateway.errors import ClusterUnavailableError, StoreUnavailableError
from kubeqpu.qpu_gateway.jobs import Submitter
from kubeqpu.qpu_gateway.slots.health import Health, judge, score_slots
from kubeqpu.qpu_gateway.slots.holdings import Reported
from kubeqpu.qpu_gateway.slots.ledger import Ledger
from kubeqpu.qpu_gateway.slots.orphans import find_orphaned
from kubeqpu.qpu_gateway.slots.slot import Holding, NodeFacts, Slot
from tests.integration.gateway_support import until
from tests.support.slot_keeper import GOOD, NODES, Shelf, stand

WEB = Reported("q-0", "team", "web")


def caller(uid: str, pod: str = "web", node: str = "a") -> Caller:
    return Caller("team", pod=Pod(pod, uid, node))


async def test_nobody_is_told_what_is_not_stored() -> None:
    async with stand(Shelf(away=True)) as made:
        made.connect("a")
        await until(lambda: len(made.keeper.ledger.on_node("a")) == 2)
        await asyncio.sleep(0.2)
        assert made.told("a") == []
        made.shelf.away = False
        await until(lambda: made.told("a") == ["q-0", "q-1"])


async def test_a_right_that_cannot_be_pinned_is_not_given() -> None:
    async with stand() as made:
        made.connect("a", WEB)
        await until(lambda: made.told("a") == ["q-0", "q-1"])
        made.shelf.away = True
        with pytest.raises(StoreUnavailableError):
            await made.holders.may(caller("u-1"), Verb.CREATE, "q")
        # It is this pod's all the same, and no other's.
        assert not await made.holders.may(caller("u-2"), Verb.CREATE, "q")
        made.shelf.away = False
        assert await made.holders.may(caller("u-1"), Verb.CREATE, "q")
        holding = made.shelf.slots["q-0"].holding
        assert holding is not None
        assert holding.uid == "u-1"


async def test_a_holding_ends_though_that_cannot_be_stored() -> None:
    async with stand() as made:
        stream = made.connect("a", WEB)
        await until(lambda: made.told("a") == ["q-0", "q-1"])
        assert await made.holders.may(caller("u-1"), Verb.CREATE, "q")
        made.shelf.away = True
        made.keeper.take_report(stream, ())
        assert not await made.holders.may(caller("u-1"), Verb.CREATE, "q")


async def test_fewer_slots_leave_held_ones_until_they_are_free() -> None:
    async with stand(slots=4) as made:
        made.connect("a", Reported("q-3", "team", "web"))
        await until(lambda: len(made.told("a")) == 4)
        shelf = made.shelf
    async with stand(shelf, slots=2) as made:
        stream = made.connect("a", Reported("q-3", "team", "web"))
        assert made.told("a") == ["q-0", "q-1", "q-3"]
        assert await made.holders.may(caller("u-1"), Verb.CREATE, "q")
        assert [(n.slots, n.held) for n in made.keeper.board.nodes_of("q")] == [(3, 1)]
        made.keeper.take_report(stream, ())
        assert made.told("a") == ["q-0", "q-1"]
    async with stand(shelf, slots=4) as made:
        assert made.told("a") == ["q-0", "q-1", "q-2", "q-3"]


async def test_a_holder_of_a_forgotten_database_keeps_its_slot() -> None:
    async with stand() as made:
        made.keeper.see_nodes({**NODES, "c": NodeFacts({})})
        made.connect("b", Reported("q-0", "team", "web"))
        await until(lambda: made.told("b") == ["q-0", "q-1"])
        assert await made.holders.may(caller("u-1", node="b"), Verb.CREATE, "q")


async def test_the_next_pod_of_a_name_is_known_in_the_end() -> None:
    """A StatefulSet's pod that was replaced between two reports."""
    async with stand() as made:
        stream = made.connect("a", WEB)
        await until(lambda: made.told("a") == ["q-0", "q-1"])
        assert await made.holders.may(caller("u-1"), Verb.CREATE, "q")
        made.now += 5
        assert not await made.holders.may(caller("u-2"), Verb.CREATE, "q")
        assert not await made.holders.wait(caller("u-2"), Verb.CREATE, "q")
        made.now += 40
        assert not await made.holders.may(caller("u-2"), Verb.CREATE, "q")
        # Its token is newer than the pin beyond doubt; whether it holds the slot is not known.
        with pytest.raises(ClusterUnavailableError, match="held by an earlier pod team/web"):
            await made.holders.wait(caller("u-2"), Verb.CREATE, "q")
        made.now += 11
        assert not await made.holders.may(caller("u-2"), Verb.CREATE, "q")
        made.keeper.take_report(stream, (WEB,))
        assert await made.holders.may(caller("u-2"), Verb.CREATE, "q")
        assert not await made.holders.may(caller("u-1"), Verb.CREATE, "q")
        assert not made.keeper.ledger.covers(Submitter("team", "web", "u-1", "q"))


async def test_waiting_callers_hold_nobody_up() -> None:
    async with stand() as made:
        stream = made.connect("a")
        await until(lambda: made.told("a") == ["q-0", "q-1"])
        waiting = [
            asyncio.create_task(made.holders.wait(caller(f"u-{n}", f"p-{n}"), Verb.GET, "q"))
            for n in range(200)
        ]
        await asyncio.sleep(0.02)
        began = time.monotonic()
        made.keeper.take_report(stream, (WEB,))
        assert await made.holders.may(caller("u"), Verb.CREATE, "q")
        assert time.monotonic() - began < 0.1
        assert not any(await asyncio.gather(*waiting))


def test_who_covers_jobs() -> None:
    ledger = Ledger({"q": 2})
    pinned = Slot("q", 0, "a", holding=Holding("team", "web", uid="u-1", pinned_at=1.0))
    ledger.apply([pinned, Slot("q", 1, "a", holding=Holding("team", "new"))])

    def covers(pod: str, uid: str, qpu: str = "q", tenant: str = "team") -> bool:
        return ledger.covers(Submitter(tenant, pod, uid, qpu))

    assert covers("web", "u-1")
    assert covers("new", "any")
    assert not covers("web", "u-2")
    assert not covers("web", "u-1", qpu="other")
    assert not covers("web", "u-1", tenant="other")
    ledger.apply([Slot("q", 0, "a")])
    assert not covers("web", "u-1")


def test_who_is_orphaned_and_since_when() -> None:
    one, two = Submitter("t", "one", "1", "q"), Submitter("t", "two", "2", "q")
    first = find_orphaned([one, two], lambda item: item == two, {}, 10.0)
    assert first == {one: 10.0}
    assert find_orphaned([one, two], lambda item: False, first, 20.0) == {one: 10.0, two: 20.0}
    assert find_orphaned([one], lambda item: True, first, 20.0) == {}


@pytest.mark.parametrize(
    ("changed", "cordoned", "taken", "wanted"),
    [
        ({}, False, "", Health(True)),
        ({CALIBRATED: ConditionStatus.FALSE}, False, "", Health(True)),
        (
            {READY: ConditionStatus.FALSE},
            False,
            "",
            Health(False, "Ready of QPU q is False: why"),
        ),
        (
            {ACCEPTING: ConditionStatus.UNKNOWN},
            False,
            "",
            Health(False, "Accepting of QPU q is Unknown: why"),
        ),
        ({}, True, "", Health(False, "QPU q is cordoned by an operator.")),
        ({}, False, "It is another's.", Health(False, "It is another's.")),
    ],
)
def test_what_makes_slots_unhealthy(
    changed: dict[str, ConditionStatus], cordoned: bool, taken: str, wanted: Health
) -> None:
    verdicts = {**GOOD, **{kind: Verdict(status, "R", "why") for kind, status in changed.items()}}
    assert judge("q", verdicts, cordoned, taken) == wanted


async def test_a_long_queue_lowers_the_score_and_nothing_else() -> None:
    busy = qpu_pb2.QPU(name="q", slots=2, queue=qpu_pb2.Queue(estimated_wait_seconds=7200))
    idle = qpu_pb2.QPU(name="q", slots=2)
    now = datetime.now(UTC)
    assert 0 < score_slots(busy, 0, {}, now) < score_slots(idle, 0, {}, now) <= 1
    async with stand() as made:
        made.connect("a")
        await until(lambda: made.told("a") == ["q-0", "q-1"])
        made.keeper.board.observe("q", busy, GOOD, "")
        assert all(slot.healthy for slot in made.keeper.board.list_slots("a") or ())
