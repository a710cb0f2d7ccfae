"""Filter, prioritize and preempt, as functions of tables and names."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from kubeqpu.common.names import RESOURCE_QPU
from kubeqpu.common.placement import CircuitShape, fits, raise_min_qubits
from kubeqpu.scheduler_extender.classes import Classes
from kubeqpu.scheduler_extender.decisions import (
    Passed,
    Refused,
    choose_helpful,
    filter_nodes,
    look_up,
    prioritize_nodes,
)
from kubeqpu.scheduler_extender.fleet import Fleet
from kubeqpu.scheduler_extender.groups import REFUSED
from kubeqpu.scheduler_extender.qpus import SeenQPU
from kubeqpu.scheduler_extender.questions import Demand, Question
from kubeqpu.scheduler_extender.tables import Table, Tables
from tests.support.extender_fleet import NODES, NOW, classes, fleets, questions, seen_qpu

asked_nodes = st.lists(
    st.sampled_from([*NODES, "without-slots", "knöten-7", "節点"]),
    unique=True,
    min_size=4,
    max_size=9,
)


@dataclass
class Case:
    tables: list[Table]
    qpus: list[SeenQPU]


# Most of these pass, with scores that differ.
easy_qpus = st.builds(
    seen_qpu,
    st.sampled_from("abcdefg"),
    st.dictionaries(st.sampled_from(NODES), st.booleans(), min_size=1, max_size=3),
    wait=st.floats(0, 1000),
    error=st.floats(1e-3, 0.02),
    ready=st.sampled_from([True, True, True, True, True, False]),
)
easy_questions = st.builds(
    Question,
    st.builds(Demand, st.just(RESOURCE_QPU), st.just("")),
    st.none() | st.builds(CircuitShape, st.integers(0, 100), st.integers(0, 20)),
)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    fleet, known = Fleet(), Classes()
    qpus = draw(
        st.lists(easy_qpus | fleets, max_size=7, unique_by=lambda seen: seen.plain.name)
        | st.lists(easy_qpus, min_size=4, max_size=7, unique_by=lambda seen: seen.plain.name)
    )
    for seen in qpus:
        fleet.put(seen)
    for found in draw(st.just([]) | st.lists(classes, max_size=3)):
        known.put(found)
    made = Tables(fleet, known)
    asked = draw(
        st.lists(easy_questions, min_size=1, max_size=2)
        | st.lists(questions, min_size=1, max_size=2)
    )
    return Case([made.look_up(question, NOW) for question in asked], qpus)


@given(cases(), asked_nodes, st.integers(1, 6), st.text(max_size=3))
def test_filter_gives_the_best_of_those_that_pass(
    case: Case, nodes: list[str], best: int, pod: str
) -> None:
    totals = dict(zip(nodes, look_up(case.tables, nodes).tolist(), strict=True))
    good = {node for node, total in totals.items() if total > REFUSED}
    found = filter_nodes(case.tables, nodes, pod, best)
    if isinstance(found, Refused):
        assert not good
        assert set(found.reasons) == set(nodes)
        assert all(reason.sentence and reason.word for reason in found.reasons.values())
        return
    assert len(found.nodes) == min(best, len(good)) == len(set(found.nodes))
    assert set(found.nodes) <= good
    assert found.totals == tuple(totals[node] for node in found.nodes)
    assert list(found.totals) == sorted(found.totals, reverse=True)
    left = good - set(found.nodes)
    assert all(totals[node] <= found.totals[-1] for node in left)
    lower = {totals[node] for node in left if totals[node] < found.totals[-1]}
    assert bool(found.next_best) == bool(lower)
    if lower:
        assert totals[found.next_best] == max(lower)
    assert (found.considered, found.passing) == (len(nodes), len(good))


@given(cases(), asked_nodes)
def test_no_node_passes_with_a_qpu_that_does_not_fit(case: Case, nodes: list[str]) -> None:
    found = filter_nodes(case.tables, nodes, "pod")
    for table in case.tables:
        demand = table.question.demand
        for node in found.nodes if isinstance(found, Passed) else ():
            here = [seen for seen in case.qpus if node in seen.nodes]
            there = [seen for seen in here if seen.resource == demand.resource]
            assert there
            assert table.wanted is not None
            wanted = raise_min_qubits(table.wanted, demand.min_qubits)
            assert all(fits(seen.plain, wanted.requirements, NOW) is None for seen in there)


@given(cases(), asked_nodes)
def test_points_follow_the_scores(case: Case, nodes: list[str]) -> None:
    points = prioritize_nodes(case.tables, nodes)
    totals = look_up(case.tables, nodes).tolist()
    assert all(0 <= point <= 10 for point in points)
    for point, total in zip(points, totals, strict=True):
        assert total > REFUSED or point == 0
        for other, other_total in zip(points, totals, strict=True):
            assert total < other_total or point >= other
    best = max(totals, default=REFUSED)
    if best > 0:
        for point, total in zip(points, totals, strict=True):
            assert abs(point - 10 * max(0.0, total) / best) <= 0.5 + 1e-9


@given(cases(), asked_nodes)
def test_preemption_helps_where_filter_passes(case: Case, nodes: list[str]) -> None:
    passed = filter_nodes(case.tables, nodes, "pod", best=len(nodes) + 1)
    helpful = choose_helpful(case.tables, nodes)
    assert set(helpful) == (set(passed.nodes) if isinstance(passed, Passed) else set())


def test_the_best_are_kept_best_first() -> None:
    fleet = Fleet()
    for number in range(100):
        fleet.put(seen_qpu(f"qpu-{number}", {f"n-{number}": True}, wait=10.0 * number))
    table = Tables(fleet, Classes()).look_up(Question(Demand(RESOURCE_QPU)), NOW)
    found = filter_nodes([table], [f"n-{number}" for number in range(99, -1, -1)], "pod")
    assert isinstance(found, Passed)
    assert found.nodes == tuple(f"n-{number}" for number in range(64))
    assert found.next_best == "n-64"


def test_equals_are_spread_over_pods_and_steady_for_each() -> None:
    fleet = Fleet()
    fleet.put(seen_qpu("fez", dict.fromkeys((f"n-{number}" for number in range(500)), True)))
    table = Tables(fleet, Classes()).look_up(Question(Demand(RESOURCE_QPU)), NOW)
    nodes = [f"n-{number}" for number in range(500)]

    def first(pod: str) -> str:
        found = filter_nodes([table], nodes, pod)
        assert isinstance(found, Passed)
        return found.nodes[0]

    assert first("one") == first("one")
    assert len({first(str(pod)) for pod in range(100)}) > 50


def test_many_refusals_are_few_sentences() -> None:
    fleet, known = Fleet(), Classes()
    for number in range(40):
        fleet.put(seen_qpu(f"wide-{number:02}", {f"a-{number}": True}))
        fleet.put(seen_qpu(f"ill-{number:02}", {f"b-{number}": True}, ready=False))
    table = Tables(fleet, known).look_up(Question(Demand(RESOURCE_QPU, "", 100)), NOW)
    nodes = [f"{kind}-{number}" for kind in "abc" for number in range(40)]
    found = filter_nodes([table], nodes, "pod")
    assert isinstance(found, Refused)
    assert {reason.sentence for reason in found.reasons.values()} == {
        "QPUs refused as TooFewQubits: 40, such as QPU wide-00: 27 qubits below the 100 needed "
        "(class standard)",
        "QPUs refused as NotReady: 40, such as QPU ill-00: Ready is Unknown (gone)",
        "no QPU has slots of kubeqpu.io/qpu here",
    }


def test_half_as_good_is_five_points() -> None:
    fleet, known = Fleet(), Classes()
    fleet.put(seen_qpu("now", {"n-0": True}, error=None))
    fleet.put(seen_qpu("later", {"n-1": True}, error=None, wait=1e4))
    table = Tables(fleet, known).look_up(Question(Demand(RESOURCE_QPU)), NOW)
    ratio = table.total_of("n-1") / table.total_of("n-0")
    assert prioritize_nodes([table], ["n-1", "n-0", "n-9"]) == [round(10 * ratio), 10, 0]
    assert prioritize_nodes([], ["n-1"]) == [0]
