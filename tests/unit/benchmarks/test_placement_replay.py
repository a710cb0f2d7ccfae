"""The replay that placement is measured with: what must hold whatever is replayed."""

import itertools
import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.benchmarks import placement_regimes as model
from tests.benchmarks.placement_courses import Course
from tests.benchmarks.placement_devices import Snapshot
from tests.benchmarks.placement_policies import BLIND, KUBEQPU, NAMED, Policy
from tests.benchmarks.placement_regimes import Estimate, Regime
from tests.benchmarks.placement_replay import Outcome, replay
from tests.benchmarks.placement_station import Run
from tests.benchmarks.placement_traces import make_trace


def make_snapshot(name: str, error: float) -> Snapshot:
    return Snapshot(
        name=name,
        num_qubits=27,
        median_one_qubit_error=error / 10,
        median_two_qubit_error=error,
        median_readout_error=2 * error,
        t1_seconds=2e-4,
        t2_seconds=1e-4,
        gate_seconds=1e-7,
        measure_seconds=2e-6,
        edge_errors=tuple(error * factor for factor in (0.5, 0.8, 1.0, 1.5, 4.0)),
        readout_errors=tuple(error * factor for factor in (1.0, 2.0, 5.0)),
    )


SNAPSHOTS = {
    name: make_snapshot(name, error)
    for name, error in (("FakeGood", 2e-3), ("FakeFair", 5e-3), ("FakeBad", 1e-2))
}
regimes = st.builds(
    Regime,
    name=st.just("drawn"),
    about=st.just(""),
    fleet=st.just(tuple(SNAPSHOTS)),
    slots=st.integers(1, 5),
    own_load=st.floats(0.05, 1.5),
    external_load=st.floats(0, 0.6),
    wave=st.floats(0, 1),
    burst=st.sampled_from([1.0, 8.0]),
    outage=st.sampled_from([0.0, 0.5]),
    estimate=st.sampled_from(list(Estimate)),
    hours=st.floats(0.5, 3),
)
# A regime and a seed, not a trace: a failure has to be readable.
cases = st.tuples(regimes, st.integers(0, 2**32))
policies = st.sampled_from(NAMED)
replays = settings(max_examples=40, deadline=None)


def up_seconds(course: Course, begin: float, end: float) -> float:
    away = sum(max(0.0, min(over, end) - max(out, begin)) for out, over in course.outages)
    return end - begin - away


def runs_by_qpu(outcome: Outcome) -> list[list[Run]]:
    return [station.runs for station in outcome.stations]


@replays
@given(cases, policies)
def test_every_pod_lives_once_and_in_order(case: tuple[Regime, int], policy: Policy) -> None:
    trace = make_trace(*case, SNAPSHOTS)
    outcome = replay(trace, policy)
    assert [stay.pod for stay in outcome.stays] == list(range(len(trace.pods)))
    for pod, stay in zip(trace.pods, outcome.stays, strict=True):
        assert stay.created == pod.arrival
        assert stay.created <= stay.bound < stay.submitted <= stay.started < stay.ended
        assert stay.submitted == pytest.approx(stay.bound + pod.start_seconds)
        assert 0 < stay.fidelity < 1


@replays
@given(cases, policies)
def test_no_qpu_has_more_pods_than_slots(case: tuple[Regime, int], policy: Policy) -> None:
    trace = make_trace(*case, SNAPSHOTS)
    outcome = replay(trace, policy)
    for place in range(len(trace.courses)):
        here = [stay for stay in outcome.stays if stay.qpu == place]
        # At one moment the pods that end leave before others come.
        changes = sorted([(stay.bound, 1) for stay in here] + [(stay.ended, -1) for stay in here])
        held = itertools.accumulate(step for _, step in changes)
        assert max(held, default=0) <= trace.regime.slots


@replays
@given(cases, policies)
def test_a_pod_waits_only_while_every_slot_is_held(
    case: tuple[Regime, int], policy: Policy
) -> None:
    trace = make_trace(*case, SNAPSHOTS)
    outcome = replay(replace(trace, courses=tuple(
        replace(course, outages=()) for course in trace.courses)), policy)  # fmt: skip
    all_slots = trace.regime.slots * len(trace.courses)
    bound = [stay.bound for stay in outcome.stays]
    assert bound == sorted(bound), "first come, first served"
    for stay in outcome.stays:
        if stay.bound > stay.created:
            held = sum(other.bound <= stay.created < other.ended for other in outcome.stays)
            assert held == all_slots


@replays
@given(cases, policies)
def test_each_qpu_works_in_order_and_never_rests_while_jobs_wait(
    case: tuple[Regime, int], policy: Policy
) -> None:
    trace = make_trace(*case, SNAPSHOTS)
    outcome = replay(trace, policy)
    for course, runs in zip(trace.courses, runs_by_qpu(outcome), strict=True):
        free_at = 0.0
        submitted = 0.0
        for run in runs:
            assert run.submitted >= submitted
            assert run.start >= max(run.submitted, free_at)
            # From when it could begin to when it did, the QPU was away.
            idle = up_seconds(course, max(run.submitted, free_at), run.start)
            assert idle == pytest.approx(0, abs=1e-6)
            free_at, submitted = run.end, run.submitted


@replays
@given(cases, policies)
def test_work_is_conserved(case: tuple[Regime, int], policy: Policy) -> None:
    trace = make_trace(*case, SNAPSHOTS)
    outcome = replay(trace, policy)
    for place, (course, runs) in enumerate(zip(trace.courses, runs_by_qpu(outcome), strict=True)):
        for run in runs:
            worked = up_seconds(course, run.start, run.end)
            assert worked == pytest.approx(run.seconds, rel=1e-9, abs=1e-6)
        own = [run.seconds for run in runs if run.pod is not None]
        wanted = [
            trace.pods[stay.pod].service_seconds[place]
            for stay in outcome.stays
            if stay.qpu == place
        ]
        assert sorted(own) == sorted(wanted)
        others = [(run.submitted, run.seconds) for run in runs if run.pod is None]
        known = zip(course.external_arrivals, course.external_seconds, strict=True)
        assert others == list(itertools.islice(known, len(others)))
        # Of the others' jobs none is left out that came before the last pod's.
        last = max((run.submitted for run in runs if run.pod is not None), default=0.0)
        assert len(others) >= sum(time <= last for time in course.external_arrivals)
    assert all(0 <= share <= 1 + 1e-9 for share in outcome.busy)


@replays
@given(regimes, st.integers(0, 2**32), policies)
def test_the_same_seed_gives_the_same_outcome(regime: Regime, seed: int, policy: Policy) -> None:
    first, second = make_trace(regime, seed, SNAPSHOTS), make_trace(regime, seed, SNAPSHOTS)
    assert first == second
    assert replay(first, policy).stays == replay(second, policy).stays
    assert make_trace(regime, seed + 1, SNAPSHOTS).courses != first.courses


@replays
@given(
    st.lists(st.floats(0, 50), max_size=8, unique=True).map(sorted),
    st.floats(0, 50),
    st.floats(0.001, 30),
)
def test_outages_interrupt_work_and_nothing_else(
    moments: list[float], start: float, seconds: float
) -> None:
    outages = tuple(zip(moments[::2], moments[1::2], strict=False))
    course = Course("x", 5, (), (), outages, (), 600.0, (1.0,), 0.0)
    begun, ended = course.finish(start, seconds)
    assert begun >= start
    assert up_seconds(course, start, begun) == pytest.approx(0, abs=1e-9)
    assert not any(out <= begun < over for out, over in outages)
    assert up_seconds(course, begun, ended) == pytest.approx(seconds, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("burst", [1.0, 20.0])
@pytest.mark.parametrize(("own", "others"), [(0.3, 0.4), (0.8, 0.1)])
def test_loads_are_as_stated(own: float, others: float, burst: float) -> None:
    regime = Regime(
        "loads", "", fleet=tuple(SNAPSHOTS), own_load=own, external_load=others, burst=burst,
        swing=0.0, hours=24 * 20,
    )  # fmt: skip
    trace = make_trace(regime, 7, SNAPSHOTS)
    seconds = trace.end - model.WARM_UP_SECONDS
    # What the fleet could do of these pods: each QPU at its own pace.
    pace = sum(
        len(trace.pods) / sum(pod.service_seconds[place] for pod in trace.pods)
        for place in range(len(trace.courses))
    )
    assert len(trace.pods) / pace / seconds == pytest.approx(own, rel=0.15)
    shares = [
        sum(course.external_seconds) / course.external_arrivals[-1] for course in trace.courses
    ]
    assert sum(shares) / len(shares) == pytest.approx(others, rel=0.1)
    assert shares[0] > 2 * shares[-1], "the better a QPU, the more customers"


def test_knowing_the_queues_is_better_than_chance_and_errors_are_avoided() -> None:
    regime = Regime("check", "", fleet=tuple(SNAPSHOTS), hours=24)
    trace = make_trace(regime, 3, SNAPSHOTS)
    blind, scored = replay(trace, BLIND).stays, replay(trace, KUBEQPU).stays
    assert sum(stay.completion_seconds for stay in scored) < 0.8 * sum(
        stay.completion_seconds for stay in blind
    )
    assert math.fsum(stay.fidelity for stay in scored) > math.fsum(stay.fidelity for stay in blind)
