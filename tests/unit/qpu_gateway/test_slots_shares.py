"""Which node offers which slot: even, sticky, and never two nodes the same."""

from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from kubeqpu.qpu_gateway.slots import shares
from kubeqpu.qpu_gateway.slots.holdings import Reported, read_report
from kubeqpu.qpu_gateway.slots.ledger import Ledger
from kubeqpu.qpu_gateway.slots.slot import Holding, NodeFacts, Slot

NODES = ("a", "b", "c", "d")
RETURN_SECONDS = 300.0
SETTLE_SECONDS = 5.0
POD = Holding("team", "pod")


def pool(count: int) -> list[Slot]:
    return list(shares.complete("q", (), count))


def count_by_node(slots: list[Slot]) -> dict[str, int]:
    return {name: sum(slot.node == name for slot in slots) for name in {s.node for s in slots}}


@pytest.mark.parametrize(
    ("count", "takers", "wanted"),
    [
        (4, "ab", {"a": 2, "b": 2}),
        (5, "ab", {"a": 3, "b": 2}),
        (2, "abc", {"a": 1, "b": 1}),
        (3, "", {}),
    ],
)
def test_slots_are_divided_evenly(count: int, takers: str, wanted: dict[str, int]) -> None:
    assert count_by_node(list(shares.divide(pool(count), count, takers, {}))) == wanted


def test_a_later_node_takes_only_what_nobody_has() -> None:
    slots = list(shares.divide(pool(4), 4, "a", {}))
    assert shares.divide(slots, 4, "ab", {}) == ()
    grown = slots + list(shares.complete("q", slots, 6))
    assert {slot.number: slot.node for slot in shares.divide(grown, 6, "ab", {})} == {
        4: "b",
        5: "b",
    }


def test_a_slot_in_use_goes_to_the_node_that_uses_it() -> None:
    changed = shares.divide(pool(4), 4, "ab", {"q-0": "b", "q-1": "b", "q-3": "c"})
    assert {slot.number: slot.node for slot in changed} == {0: "b", 1: "b", 2: "a", 3: "a"}


def test_what_returns_is_forgotten_and_fenced() -> None:
    slots = [replace(slot, node="a", holding=POD) for slot in pool(2)]
    kept = replace(pool(3)[2], node="b", holding=POD)
    returned = shares.give_back([*slots, kept], {"a"})
    assert returned == (Slot("q", 0, "", 2), Slot("q", 1, "", 2))


def test_surplus_slots_are_given_to_nobody() -> None:
    assert [slot.number for slot in shares.divide(pool(4), 2, "a", {})] == [0, 1]


def test_who_is_gone() -> None:
    facts = {"a": NodeFacts({}), "b": NodeFacts({}, out_of_service=True)}
    silent = {"a": 299.0}
    assert shares.find_gone(("a", "b", "c"), facts, silent, 300.0) == {"b", "c"}
    assert shares.find_gone(("a", "b", "c"), None, silent, 300.0) == frozenset()
    assert shares.find_gone(("a",), None, {"a": 300.0}, 300.0) == {"a"}


def test_which_nodes_match() -> None:
    facts = {
        "a": NodeFacts({"quantum": "yes", "zone": "1"}),
        "b": NodeFacts({"quantum": "no"}),
        "c": NodeFacts({"quantum": "yes"}, out_of_service=True),
    }
    assert shares.find_matching(facts, {"quantum": "yes"}) == {"a"}
    assert shares.find_matching(facts, {}) == {"a", "b"}


def test_when_slots_are_divided() -> None:
    wait = shares.seconds_to_settle
    assert wait("ab", "", None, 0.0, 5.0) == float("inf")
    assert wait("ab", "a", 0.0, 2.0, 5.0) == 3.0
    assert wait("ab", "ab", 0.0, 0.0, 5.0) == 0.0
    assert wait("ab", "a", 0.0, 5.0, 5.0) == 0.0


class SlotMachine(RuleBasedStateMachine):
    """Nodes come, go, fall silent and report; the gateway saves, is killed and is configured anew.

    `told` is what each kubelet was last told, which is all that pods can be given.
    """

    def __init__(self) -> None:
        super().__init__()
        self.count = 4
        self.now = 0.0
        self.stored: dict[str, Slot] = {}
        self.nodes: dict[str, NodeFacts] = {name: NodeFacts({}) for name in NODES}
        self.told: dict[str, set[str]] = {name: set() for name in NODES}
        # What runs on each node, by slot; a dead node's pods run on, for all that we know.
        self.running: dict[str, dict[str, str]] = {name: {} for name in NODES}
        self.connected: dict[str, bool] = {}
        self.lost_at: dict[str, float] = {}
        self.heard_at: dict[str, float] = {}
        self.since: float | None = None
        self.highest: dict[str, int] = {}
        self.pods = 0
        self.begin()

    def begin(self) -> None:
        self.ledger = Ledger({"q": self.count})
        self.ledger.load(self.stored.values())
        self.lost_at = dict.fromkeys(self.ledger.nodes, self.now)
        self.connected = {}
        self.since = None
        slots = self.ledger.of_qpu("q")
        self.ledger.apply(shares.complete("q", slots, self.count))

    @rule(name=st.sampled_from(NODES))
    def connect(self, name: str) -> None:
        self.connected.setdefault(name, False)
        self.lost_at.pop(name, None)
        self.report(name)

    @rule(name=st.sampled_from(NODES))
    def disconnect(self, name: str) -> None:
        if self.connected.pop(name, None) is not None:
            self.lost_at[name] = self.now

    @rule(seconds=st.sampled_from([1.0, 6.0, 299.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.decide()

    @rule(name=st.sampled_from(NODES), down=st.sampled_from(["deleted", "tainted", "back"]))
    def change_node(self, name: str, down: str) -> None:
        self.nodes.pop(name, None)
        self.told[name] = set()
        if down != "deleted":
            self.nodes[name] = NodeFacts({}, out_of_service=down == "tainted")

    @rule(name=st.sampled_from(NODES), data=st.data())
    def start_pod(self, name: str, data: st.DataObject) -> None:
        free = sorted(self.told[name] - self.running[name].keys())
        if free:
            self.pods += 1
            self.running[name][data.draw(st.sampled_from(free))] = f"pod-{self.pods}"

    @rule(name=st.sampled_from(NODES), data=st.data())
    def end_pod(self, name: str, data: st.DataObject) -> None:
        if self.running[name]:
            del self.running[name][data.draw(st.sampled_from(sorted(self.running[name])))]

    @rule(name=st.sampled_from(NODES))
    def report(self, name: str) -> None:
        if name in self.connected:
            self.connected[name] = True
            self.read(name)
            self.decide()

    def read(self, name: str) -> None:
        lines = [Reported(slot, "team", pod) for slot, pod in self.running[name].items()]
        reading = read_report(name, self.ledger.on_node(name), self.ledger, {"q"}, lines, None)
        self.ledger.apply(reading.changed)
        held = {slot.id for slot in self.ledger.on_node(name) if slot.holding is not None}
        ours = {slot.id for slot in self.ledger.on_node(name)}
        assert held == self.running[name].keys() & ours
        assert {line.slot for line, _ in reading.refused} == self.running[name].keys() - ours

    def decide(self) -> None:
        before = {slot.id: slot for slot in self.ledger.of_qpu("q")}
        silent = {name: self.now - at for name, at in self.lost_at.items()}
        gone = shares.find_gone(self.ledger.nodes, self.nodes, silent, RETURN_SECONDS)
        self.ledger.apply(shares.give_back(self.ledger.of_qpu("q"), gone))
        matching = shares.find_matching(self.nodes, {})
        connected = [name for name in matching if self.connected.get(name)]
        self.since = (self.now if self.since is None else self.since) if connected else None
        wait = shares.seconds_to_settle(matching, connected, self.since, self.now, SETTLE_SECONDS)
        if wait == 0:
            claims = {slot: name for name in connected for slot in self.running[name]}
            slots = self.ledger.of_qpu("q")
            self.ledger.apply(shares.divide(slots, self.count, connected, claims))
            for name in connected:
                self.read(name)
            assert all(slot.node for slot in self.ledger.of_qpu("q")[: self.count])
        for slot in self.ledger.of_qpu("q"):
            old = before[slot.id]
            if old.node and old.node not in gone:
                assert slot.node == old.node, "a slot left a node that lives"
            if old.node != slot.node and old.node:
                assert slot.generation > old.generation

    @rule()
    def save(self) -> None:
        changed = self.ledger.list_unsaved()
        self.stored |= {slot.id: slot for slot in changed}
        self.ledger.note_stored(changed)

    @rule(count=st.sampled_from([2, 4, 6]))
    def die_and_begin_again(self, count: int) -> None:
        self.count = count
        self.begin()

    @precondition(lambda self: self.connected)
    @rule()
    def tell(self) -> None:
        for name in self.connected:
            self.heard_at[name] = self.now
            self.told[name] = {slot.id for slot in self.ledger.offered_on(name)}

    @invariant()
    def no_slot_is_told_to_two_nodes_that_live(self) -> None:
        """A kubelet believes what it was told last, as long as its node may be away."""
        self.tell()
        live = [
            name
            for name, at in self.heard_at.items()
            if name in self.nodes and self.now - at < RETURN_SECONDS
        ]
        told = [slot for name in live for slot in self.told[name]]
        assert len(told) == len(set(told))
        surplus = sum(self.ledger.is_surplus(s) for s in self.ledger.of_qpu("q") if s.holding)
        assert sum(len(self.told[name]) for name in self.connected) <= self.count + surplus

    @invariant()
    def generations_only_rise(self) -> None:
        for slot in self.stored.values():
            assert slot.generation >= self.highest.get(slot.id, 0)
            self.highest[slot.id] = slot.generation

    @invariant()
    def shares_add_up(self) -> None:
        slots = self.ledger.of_qpu("q")
        assert sum(len(self.ledger.on_node(name)) for name in NODES) <= len(slots)
        assert [slot.number for slot in slots] == sorted({slot.number for slot in slots})
        assert all(slot.node for slot in slots if slot.holding is not None)


SlotMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestSlotMachine = SlotMachine.TestCase
