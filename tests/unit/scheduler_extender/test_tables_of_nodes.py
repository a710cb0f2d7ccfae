"""The verdict on every node: quickly kept up to date, and the same as slowly from scratch."""

import math
from datetime import datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from kubeqpu.common import api
from kubeqpu.common.placement import PlacementClass, Requirements
from kubeqpu.scheduler_extender.classes import Classes
from kubeqpu.scheduler_extender.fleet import Fleet
from kubeqpu.scheduler_extender.groups import REFUSED
from kubeqpu.scheduler_extender.qpus import SeenQPU
from kubeqpu.scheduler_extender.questions import Demand, Question
from kubeqpu.scheduler_extender.tables import Table, Tables
from tests.support.extender_fleet import (
    NODES,
    NOW,
    class_names,
    class_of,
    classes,
    fleets,
    judge_slowly,
    names,
    questions,
    seen_qpu,
)

QPU = "kubeqpu.io/qpu"


def passing(table: Table) -> dict[str, float]:
    totals = table.look_up(NODES).tolist()
    return {node: total for node, total in zip(NODES, totals, strict=True) if total > REFUSED}


def assert_equal(found: dict[str, float], expected: dict[str, float]) -> None:
    assert set(found) == set(expected)
    for node, total in expected.items():
        assert math.isclose(found[node], total, rel_tol=1e-9), node


class Tracking(RuleBasedStateMachine):
    """Changes QPUs and classes in any order, and asks in between."""

    def __init__(self) -> None:
        super().__init__()
        self.fleet, self.classes = Fleet(), Classes()
        # Fewer than there are questions, so that some are made anew.
        self.tables = Tables(self.fleet, self.classes, most=3)
        self.qpus: dict[str, SeenQPU] = {}
        self.known: dict[str, api.QPUClass] = {}
        self.asked: list[Question] = [Question(Demand(QPU))]
        self.now: datetime = NOW

    @rule(seen=fleets)
    def put_qpu(self, seen: SeenQPU) -> None:
        self.fleet.put(seen)
        self.qpus[seen.plain.name] = seen

    @rule(name=names)
    def drop_qpu(self, name: str) -> None:
        self.fleet.drop(name)
        self.qpus.pop(name, None)

    @rule(kept=st.lists(fleets, max_size=3, unique_by=lambda seen: seen.plain.name))
    def list_qpus(self, kept: list[SeenQPU]) -> None:
        self.fleet.keep(seen.plain.name for seen in kept)
        self.qpus = {seen.plain.name: seen for seen in kept}
        for seen in kept:
            self.fleet.put(seen)

    @rule(found=classes)
    def put_class(self, found: api.QPUClass) -> None:
        self.classes.put(found)
        self.known[found.metadata.name] = found

    @rule(name=class_names)
    def drop_class(self, name: str) -> None:
        self.classes.drop(name)
        self.known.pop(name, None)

    @rule(question=questions)
    def ask(self, question: Question) -> None:
        self.asked = [*self.asked[-4:], question]

    @rule(seconds=st.integers(6, 50_000))
    def wait(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

    def find_class(self, name: str) -> PlacementClass | None:
        marked = [
            (found.metadata.creation_timestamp or NOW, key)
            for key, found in self.known.items()
            if found.metadata.annotations
        ]
        wanted = name or (max(marked)[1] if marked else "standard")
        if wanted in self.known:
            return api.placement_class(self.known[wanted])
        return PlacementClass() if wanted == "standard" else None

    @invariant()
    def answers_are_those_from_scratch(self) -> None:
        for question in self.asked:
            table = self.tables.look_up(question, self.now)
            wanted = self.find_class(question.demand.class_name)
            expected = judge_slowly(self.qpus.values(), wanted, question, self.now)
            assert_equal(passing(table), expected)
            assert table.passing_nodes() == set(expected)
            for node in expected:
                [seen] = table.best_qpus([node])
                assert seen is not None
                alone = judge_slowly([seen], wanted, question, self.now)
                assert math.isclose(alone[node], expected[node], rel_tol=1e-9)


TestTracking = Tracking.TestCase
TestTracking.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)


def test_a_node_fails_with_one_of_its_qpus_free_or_held() -> None:
    fleet = Fleet()
    tables = Tables(fleet, Classes())
    question = Question(Demand(QPU))
    fleet.put(seen_qpu("good", {"n-0": True, "n-1": True}))
    fleet.put(seen_qpu("ill", {"n-0": False}, ready=False))
    assert set(passing(tables.look_up(question, NOW))) == {"n-1"}
    fleet.put(seen_qpu("ill", {"n-0": False}))
    assert set(passing(tables.look_up(question, NOW))) == {"n-0", "n-1"}


def test_a_node_is_as_good_as_its_best_qpu_with_a_free_slot() -> None:
    fleet = Fleet()
    fleet.put(seen_qpu("quick", {"n-0": False, "n-1": True}))
    fleet.put(seen_qpu("slow", {"n-0": True, "n-1": True}, wait=600))
    table = Tables(fleet, Classes()).look_up(Question(Demand(QPU)), NOW)
    for node, name in (("n-0", "slow"), ("n-1", "quick")):
        [found] = table.best_qpus([node])
        assert found is not None
        assert found.plain.name == name
    assert table.total_of("n-1") > table.total_of("n-0")


def test_a_longer_wait_counts_at_once_although_the_same_nodes_pass() -> None:
    fleet, question = Fleet(), Question(Demand(QPU))
    tables = Tables(fleet, Classes())
    fleet.put(seen_qpu("fez", {"n-0": True}))
    fleet.put(seen_qpu("torino", {"n-1": True}, wait=60))
    before = passing(tables.look_up(question, NOW))
    fleet.put(seen_qpu("fez", {"n-0": True}, wait=600))
    after = passing(tables.look_up(question, NOW))
    assert before["n-0"] > before["n-1"] == after["n-1"] > after["n-0"]


def test_a_calibration_comes_of_age_without_any_change() -> None:
    fleet, known = Fleet(), Classes()
    known.put(class_of(PlacementClass("fresh", Requirements(max_calibration_age_seconds=7200))))
    fleet.put(seen_qpu("fez", {"n-0": True}, hours=1))
    tables = Tables(fleet, known)
    question = Question(Demand(QPU, "fresh"))
    assert passing(tables.look_up(question, NOW))
    assert passing(tables.look_up(question, NOW + timedelta(seconds=3600)))
    assert not passing(tables.look_up(question, NOW + timedelta(seconds=3601)))


@given(st.lists(questions, max_size=20))
def test_few_tables_are_kept_however_many_are_asked(asked: list[Question]) -> None:
    tables = Tables(Fleet(), Classes(), most=4)
    for question in asked:
        tables.look_up(question, NOW)
    assert len(tables) <= 4


def test_groups_that_no_node_is_in_are_used_again() -> None:
    fleet = Fleet()
    for number in range(200):
        nodes = {f"n-{place}": bool(number >> place & 1) for place in range(6)}
        fleet.put(seen_qpu(f"qpu-{number % 3}", nodes))
        fleet.put(seen_qpu(f"qpu-{number}", {f"n-{number}": True}))
        fleet.drop(f"qpu-{number}")
    # Three QPUs on six nodes, free or not, and the group of nodes without slots.
    assert fleet.groups(QPU).layout().count < 20
    assert fleet.rows < 10


def test_no_group_stays_without_a_node() -> None:
    fleet = Fleet()
    fleet.put(seen_qpu("fez", {"n-0": True, "n-1": False}))
    fleet.put(seen_qpu("torino", {"n-1": True}))
    assert fleet.groups(QPU).layout().groups.size == 2
    fleet.drop("fez")
    fleet.drop("torino")
    assert fleet.groups(QPU).layout().groups.size == 0
