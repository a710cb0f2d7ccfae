"""Placement: which QPU, and why."""

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubeqpu.common.placement import (
    CircuitShape,
    NoFittingQPUError,
    PlacementClass,
    Requirements,
    SimulatorPolicy,
    Weights,
    fits,
    place,
    score,
)
from kubeqpu.common.qpu import QPU, Calibration, Condition, ConditionStatus, Queue

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
HEALTHY = {
    name: Condition(name, ConditionStatus.TRUE) for name in ("Ready", "Accepting", "Calibrated")
}
CALIBRATION = Calibration("c1", NOW - timedelta(hours=1), 2e-4, 4e-3, 8e-3)


def make_qpu(name: str = "fez", /, **changes: object) -> QPU:
    base = QPU(
        name=name,
        provider="ibm",
        simulator=False,
        num_qubits=27,
        conditions=HEALTHY,
        calibration=CALIBRATION,
        slots=4,
    )
    return replace(base, **changes)  # type: ignore[arg-type]


probabilities = st.floats(min_value=0, max_value=0.5)
calibrations = st.builds(
    Calibration,
    id=st.just("c"),
    time=st.floats(0, 100).map(lambda hours: NOW - timedelta(hours=hours)),
    median_one_qubit_error=probabilities,
    median_two_qubit_error=probabilities,
    median_readout_error=probabilities,
)
qpus = st.builds(
    make_qpu,
    st.text("abcdef", min_size=1, max_size=4),
    calibration=st.none() | calibrations,
    queue=st.builds(Queue, estimated_wait_seconds=st.floats(0, 1e5)),
    slots_held=st.integers(0, 4),
    simulator=st.booleans(),
)


def unfit(changes: dict[str, object], requirements: Requirements) -> str:
    refusal = fits(make_qpu("fez", **changes), requirements, NOW, "precise")
    assert refusal is not None
    return str(refusal)


@pytest.mark.parametrize(
    ("changes", "requirements", "sentence"),
    [
        ({"unschedulable": True}, Requirements(), "QPU fez: cordoned by an operator"),
        ({"conditions": {}}, Requirements(), "QPU fez: Ready is not reported"),
        (
            {
                "conditions": {
                    **HEALTHY,
                    "Accepting": Condition(
                        "Accepting", ConditionStatus.FALSE, "Maintenance", "maintenance until 14:00"
                    ),
                }
            },
            Requirements(),
            "QPU fez: Accepting is False (maintenance until 14:00)",
        ),
        ({}, Requirements(min_qubits=28), "QPU fez: 27 qubits below the 28 needed (class precise)"),
        (
            {},
            Requirements(max_median_two_qubit_error=3e-3),
            "QPU fez: median 2q error 4.0e-03 above 3.0e-03 allowed by class precise",
        ),
        (
            {},
            Requirements(max_median_readout_error=5e-3),
            "QPU fez: median readout error 8.0e-03 above 5.0e-03 allowed by class precise",
        ),
        ({}, Requirements(max_eplg=0.1), "QPU fez: reports no EPLG, and class precise limits it"),
        (
            {"calibration": replace(CALIBRATION, eplg=0.2)},
            Requirements(max_eplg=0.1),
            "QPU fez: EPLG 2.0e-01 above 1.0e-01 allowed by class precise",
        ),
        (
            {},
            Requirements(max_calibration_age_seconds=1800),
            "QPU fez: calibrated 1.0 h ago, above 0.5 h allowed by class precise",
        ),
        (
            {"calibration": None},
            Requirements(max_calibration_age_seconds=1800),
            "QPU fez: reports no calibration, and class precise limits its errors or age",
        ),
        (
            {"queue": Queue(estimated_wait_seconds=90)},
            Requirements(max_estimated_wait_seconds=60),
            "QPU fez: estimated wait 90 s above 60 s allowed by class precise",
        ),
        (
            {},
            Requirements(providers=frozenset({"aer", "iqm"})),
            "QPU fez: provider ibm is not among those of class precise (aer, iqm)",
        ),
        (
            {"simulator": True},
            Requirements(simulators=SimulatorPolicy.FORBID),
            "QPU fez: a simulator, which class precise forbids",
        ),
        (
            {},
            Requirements(simulators=SimulatorPolicy.REQUIRE),
            "QPU fez: a real QPU, and class precise requires simulators",
        ),
        (
            {"labels": {"site": "north"}},
            Requirements(selector={"site": "south"}),
            "QPU fez: label site is 'north', class precise selects 'south'",
        ),
    ],
)
def test_a_refusal_says_what_is_and_what_was_required(
    changes: dict[str, object], requirements: Requirements, sentence: str
) -> None:
    assert unfit(changes, requirements) == sentence


def test_limits_that_are_met_exactly_pass() -> None:
    requirements = Requirements(
        min_qubits=27,
        max_median_two_qubit_error=4e-3,
        max_median_readout_error=8e-3,
        max_calibration_age_seconds=3600,
        max_estimated_wait_seconds=0,
        providers=frozenset({"ibm"}),
        simulators=SimulatorPolicy.FORBID,
    )
    assert fits(make_qpu(), requirements, NOW) is None


def test_an_ideal_simulator_needs_no_calibration() -> None:
    ideal = make_qpu(simulator=True, calibration=None)
    assert fits(ideal, Requirements(max_calibration_age_seconds=1), NOW) is None


def test_fidelity_is_the_product_of_median_errors() -> None:
    shape = CircuitShape(two_qubit_gates=10, measurements=7)
    found = score(make_qpu(), Weights(), shape, NOW)
    assert found.fidelity == pytest.approx(math.exp(-(10 * 4e-3 + 7 * 8e-3)), rel=1e-12)


@given(qpus)
def test_scores_and_their_parts_stay_between_0_and_1(qpu: QPU) -> None:
    found = score(qpu, Weights(), CircuitShape(30, 7), NOW)
    parts = (found.total, found.wait, found.fidelity, found.freshness, found.utilisation)
    assert all(0 <= part <= 1 for part in parts)


@given(qpus, st.floats(1, 1e4))
def test_a_longer_queue_never_scores_better(qpu: QPU, more: float) -> None:
    wait = qpu.queue.estimated_wait_seconds + more
    longer = replace(qpu, queue=Queue(estimated_wait_seconds=wait))
    shape = CircuitShape(30, 7)
    assert score(longer, Weights(), shape, NOW).total < score(qpu, Weights(), shape, NOW).total


@given(calibrations, st.floats(1.01, 3))
def test_larger_errors_score_worse(calibration: Calibration, factor: float) -> None:
    worse = replace(
        calibration,
        median_two_qubit_error=calibration.median_two_qubit_error * factor + 1e-3,
    )
    shape = CircuitShape(30, 7)
    good = score(make_qpu(calibration=calibration), Weights(), shape, NOW)
    bad = score(make_qpu(calibration=worse), Weights(), shape, NOW)
    assert bad.total < good.total or good.fidelity < 1e-6


@given(st.lists(qpus, max_size=6, unique_by=lambda qpu: qpu.name))
def test_every_qpu_is_scored_or_refused_and_the_best_wins(candidates: list[QPU]) -> None:
    wanted = PlacementClass(requirements=Requirements(simulators=SimulatorPolicy.FORBID))
    if all(qpu.simulator for qpu in candidates):
        with pytest.raises(NoFittingQPUError):
            place(candidates, wanted, NOW)
        return
    found = place(candidates, wanted, NOW)
    named = {item.qpu for item in found.scores} | {item.qpu for item in found.refusals}
    assert named == {qpu.name for qpu in candidates}
    assert found.scores[0].qpu == found.qpu
    assert found.scores[0].total == max(item.total for item in found.scores)


def test_weights_decide_between_a_short_queue_and_small_errors() -> None:
    quick = make_qpu("quick", calibration=replace(CALIBRATION, median_two_qubit_error=2e-2))
    precise = make_qpu("precise", queue=Queue(estimated_wait_seconds=60))
    shape = CircuitShape(50, 7)
    for_wait = PlacementClass(weights=Weights(wait=5, fidelity=1))
    for_fidelity = PlacementClass(weights=Weights(wait=1, fidelity=5))
    assert place([quick, precise], for_wait, NOW, shape).qpu == "quick"
    assert place([quick, precise], for_fidelity, NOW, shape).qpu == "precise"


def test_equal_qpus_are_chosen_by_name() -> None:
    assert place([make_qpu("b"), make_qpu("a")], PlacementClass(), NOW).qpu == "a"


def test_a_placement_explains_itself_in_one_sentence() -> None:
    slow = make_qpu("slow", queue=Queue(estimated_wait_seconds=600))
    sentence = place([make_qpu(), slow], PlacementClass(), NOW, CircuitShape(10, 7)).sentence()
    assert sentence == (
        "fez scored 0.956 (wait 1.00, fidelity 0.91, freshness 0.97, free slots 1.00), "
        "ahead of slow at 0.321"
    )


def test_without_qpus_the_error_says_so() -> None:
    with pytest.raises(NoFittingQPUError, match="class standard: there are no QPUs"):
        place([], PlacementClass(), NOW)


@pytest.mark.parametrize("weights", [{"wait": -1.0}, dict.fromkeys(Weights.__annotations__, 0.0)])
def test_senseless_weights_are_refused(weights: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="Set at least one weight above 0"):
        Weights(**weights)
