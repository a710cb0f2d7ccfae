"""What a policy gets to see in the replay, how it chooses, and how figures are made of it."""

import math
import random
import statistics
from collections import Counter
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from kubeqpu.common.placement import CircuitShape
from kubeqpu.common.qpu import QPU, Calibration, Condition, ConditionStatus, Queue
from tests.benchmarks import placement_policies as policies
from tests.benchmarks.placement_courses import Course, Reported
from tests.benchmarks.placement_policies import Candidate
from tests.benchmarks.placement_regimes import FIRST_SERVICE_SECONDS, Estimate
from tests.benchmarks.placement_results import (
    Summary,
    choose_point,
    compare,
    estimate_mean,
    estimate_reduction,
)
from tests.benchmarks.placement_station import EPOCH, Station
from tests.benchmarks.placement_traces import Pod

CALIBRATION = Reported(-600.0, 1e-4, 2e-3, 1e-2)
COURSE = Course("x", 27, (), (), (), (CALIBRATION,), 600.0, (1.0,), 0.25)
POD = Pod(0.0, 1.0, 10, 1000, 50, 10, False, (100.0,), (0.1,), (0.1,), (0.1,))


def make_station(estimate: Estimate = Estimate.GATEWAY, **changes: object) -> Station:
    return Station(replace(COURSE, **changes), 4, estimate)  # type: ignore[arg-type]


def test_a_change_is_seen_from_the_next_poll_on() -> None:
    station = make_station()
    station.submit(10.0, POD, 100.0)
    assert station.look(10.2).queue.provider_pending == 0
    assert station.look(10.25).queue == Queue(1, 10, FIRST_SERVICE_SECONDS)
    assert station.look(109.9).queue.provider_pending == 1
    assert station.look(110.3).queue.provider_pending == 0


def test_a_small_change_is_seen_after_five_seconds() -> None:
    station = make_station(Estimate.DEPTH)
    for _ in range(20):
        station.submit(10.0, POD, 1000.0)
    assert station.look(11.0).queue.provider_pending == 20
    station.submit(12.0, POD, 1000.0)
    assert station.look(15.2).queue.provider_pending == 20
    assert station.look(15.25).queue.provider_pending == 21


def test_waits_are_estimated_from_what_was_measured() -> None:
    station = make_station()
    first = station.submit(0.0, POD, 100.0)
    station.submit(0.0, POD, 100.0)
    status = station.look(first.end + 1)
    per_job = 0.7 * FIRST_SERVICE_SECONDS + 0.3 * 100
    # One job is left; its ten circuits take as long as the first ten did, on four slots.
    assert status.queue.estimated_wait_seconds == pytest.approx(per_job + 10 * 10 / 4)
    exact = make_station(Estimate.EXACT)
    exact.submit(0.0, POD, 100.0)
    assert exact.look(30.5).queue.estimated_wait_seconds == pytest.approx(69.5)


def test_outages_and_calibrations_are_seen() -> None:
    later = Reported(400.0, 1e-4, 5e-3, 1e-2)
    station = make_station(outages=((100.0, 200.0),), calibrations=(CALIBRATION, later))
    assert station.look(99.0).is_true("Ready")
    assert station.look(101.3).is_true("Ready") is False
    assert not station.has_free_slot()
    assert station.look(201.3).is_true("Ready")
    before, after = station.look(399.0).calibration, station.look(401.3).calibration
    assert before is not None
    assert after is not None
    assert (before.time, after.time) == (
        EPOCH - timedelta(seconds=600),
        EPOCH + timedelta(seconds=400),
    )
    assert after.median_two_qubit_error == 5e-3


def make_candidate(name: str, wait: float, error: float, held: int = 0) -> Candidate:
    ready = {kind: Condition(kind, ConditionStatus.TRUE) for kind in ("Ready", "Accepting")}
    calibration = Calibration("c", EPOCH, 1e-4, error, 1e-2)
    queue = Queue(estimated_wait_seconds=wait)
    qpu = QPU(name, "replay", False, 27, ready, queue, calibration, slots=4, slots_held=held)
    return Candidate(qpu, held)


def choices(policy: policies.Policy, *free: Candidate, count: int = 300) -> Counter[str]:
    generator = random.Random(1)
    shape = CircuitShape(100, 10)
    return Counter(policy.choose(free, shape, EPOCH, generator) for _ in range(count))


QUICK, GOOD = make_candidate("quick", 0, 2e-2), make_candidate("good", 600, 1e-3)


def test_each_policy_looks_at_what_its_name_says() -> None:
    assert set(choices(policies.QUEUE_ONLY, QUICK, GOOD)) == {"quick"}
    assert set(choices(policies.FIDELITY_ONLY, QUICK, GOOD)) == {"good"}
    assert min(choices(policies.BLIND, QUICK, GOOD).values()) > 100
    held = make_candidate("held", 0, 1e-3, held=1)
    assert set(choices(policies.LEAST_ALLOCATED, held, GOOD)) == {"good"}


def test_scores_within_the_rounding_are_equal_to_the_scheduler() -> None:
    best = make_candidate("best", 0, 1e-3, held=3)
    nearly = make_candidate("nearly", 0, 1.1e-3, held=2)
    far = make_candidate("far", 60, 1e-2)
    assert set(choices(policies.FIDELITY_ONLY, best, nearly, far)) == {"nearly"}


def summary(seconds: float, fidelity: float) -> Summary:
    return Summary(seconds, 2 * seconds, 0.0, fidelity, 0.5)


values = st.lists(st.floats(1, 1000), min_size=3, max_size=10)


@given(values)
def test_the_interval_of_a_mean_is_students(numbers: list[float]) -> None:
    found = estimate_mean(numbers)
    quantile = float(stats.t.ppf(0.975, len(numbers) - 1))
    half = quantile * statistics.stdev(numbers) / math.sqrt(len(numbers))
    assert found.value == pytest.approx(statistics.fmean(numbers))
    assert found.half == pytest.approx(half, rel=1e-6, abs=1e-6)


@given(values, st.floats(0.1, 2))
def test_a_ratio_that_is_always_the_same_is_certain(numbers: list[float], part: float) -> None:
    found = estimate_reduction([part * number for number in numbers], numbers)
    assert found.value == pytest.approx(1 - part)
    assert found.half == pytest.approx(0, abs=1e-6)


def test_the_quickest_point_within_the_loss_is_chosen() -> None:
    found = compare(
        {
            "blind": [summary(200, 0.5), summary(400, 0.5)],
            "fidelity only": [summary(300, 0.8), summary(500, 0.8)],
            "quick": [summary(100, 0.7), summary(100, 0.7)],
            "fair": [summary(120, 0.79), summary(180, 0.78)],
            "slow": [summary(250, 0.8), summary(250, 0.8)],
        },
        "blind",
        "fidelity only",
    )
    assert found["fair"].reduction.value == pytest.approx(1 - 150 / 300)
    assert found["fair"].reduction_vs_fidelity_only.value == pytest.approx(1 - 150 / 400)
    assert found["fair"].loss.value == pytest.approx(1 - 0.785 / 0.8)
    point = choose_point([found[name] for name in ("quick", "fair", "slow")])
    assert point is found["fair"]
    assert choose_point([found["quick"]]) is None
