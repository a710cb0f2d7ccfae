"""Error bars against the spread of many runs with fixed seeds."""

import json
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from qiskit.circuit import QuantumCircuit
from qiskit_addon_cutting.instructions import CutWire

from kubeqpu.cutting import plan, run
from kubeqpu.cutting.histograms import ReadoutError
from kubeqpu.cutting.provenance import to_json
from tests.support.state_vector import StateVectorExecutor

RUNS = 400
Chain = tuple[QuantumCircuit, str | None, list[str]]
FloatArray = npt.NDArray[np.float64]


def layer(circuit: QuantumCircuit, rng: np.random.Generator, qubits: Iterable[int]) -> None:
    for qubit in qubits:
        circuit.u(*rng.uniform(-3, 3, 3), qubit)


def gate_chain() -> Chain:
    rng = np.random.default_rng(11)
    circuit = QuantumCircuit(6)
    layer(circuit, rng, range(6))
    for first in (0, 2, 4):
        circuit.cx(first, first + 1)
    circuit.rzz(0.9, 1, 2)
    circuit.rzz(0.6, 3, 4)
    layer(circuit, rng, range(6))
    return circuit, "AABBCC", ["ZZZZZZ", "Z0", "X1 Z2", "0.5 Z0 Z1 - 0.7 X1 X2 + 0.3 Z2"]


def identical_fragments() -> Chain:
    circuit = QuantumCircuit(8)
    circuit.ry(0.9, range(8))
    for qubit in range(7):
        circuit.rzz(0.7, qubit, qubit + 1)
    circuit.rx(0.6, range(8))
    return circuit, "AABBCCDD", ["Z0 Z7", "Z3", "X2 Z3", "Z0 + Z2 + Z4 + Z6"]


def wire_chain() -> Chain:
    rng = np.random.default_rng(5)
    circuit = QuantumCircuit(5)
    layer(circuit, rng, range(5))
    for qubit in range(4):
        if qubit in (1, 3):
            circuit.append(CutWire(), [qubit])
        circuit.cx(qubit, qubit + 1)
        layer(circuit, rng, (qubit, qubit + 1))
    return circuit, None, ["Z4", "X0 Z1", "Z0 Z4", "Z0 Z1 + 0.5 X4"]


def near_one() -> Chain:
    circuit = QuantumCircuit(4)
    circuit.rx(0.05, range(4))
    for qubit in range(3):
        circuit.rzz(0.3, qubit, qubit + 1)
    circuit.rx(0.03, range(4))
    return circuit, "AABB", ["ZZZZ", "Z0", "Z0 Z3", "Z1"]


def collect(
    executor: StateVectorExecutor, case: Callable[[], Chain], shots_per_row: int, **options: Any
) -> FloatArray:
    """Runs a case with many seeds; returns z scores, shape (runs, observables)."""
    circuit, labels, observables = case()
    made = plan(circuit, observables, 8, partition_labels=labels)
    exact = run(made, type(executor)(), exact=True).values
    shots = shots_per_row * sum(made.rows)
    results = [run(made, executor, shots=shots, seed=seed, **options) for seed in range(RUNS)]
    return np.array([(item.values - exact) / item.standard_errors for item in results])


@pytest.mark.parametrize(
    ("case", "pilot"),
    [(gate_chain, 0.0), (gate_chain, 0.1), (identical_fragments, 0.1), (wire_chain, 0.1)],
)
def test_error_bars_are_right_at_1000_shots(case: Callable[[], Chain], pilot: float) -> None:
    scores = collect(StateVectorExecutor(), case, 1000, pilot=pilot)
    spread = scores.std(axis=0)
    assert (spread > 0.9).all(), spread
    assert (spread < 1.1).all(), spread
    assert 0.93 <= np.mean(np.abs(scores) < 1.96) <= 0.97


@pytest.mark.parametrize("case", [gate_chain, identical_fragments, wire_chain])
def test_error_bars_are_never_too_small_at_100_shots(case: Callable[[], Chain]) -> None:
    scores = collect(StateVectorExecutor(), case, 100)
    spread = scores.std(axis=0)
    assert (spread < 1.1).all(), spread
    assert np.mean(np.abs(scores) < 1.96) >= 0.93


@pytest.mark.parametrize("shots_per_row", [100, 1000])
def test_error_bars_hold_near_one(shots_per_row: int) -> None:
    scores = collect(StateVectorExecutor(), near_one, shots_per_row)
    assert (np.mean(np.abs(scores) < 1.96, axis=0) >= 0.93).all()


def test_identical_fragments_are_independent() -> None:
    executor = StateVectorExecutor()
    circuit, labels, _ = identical_fragments()
    made = plan(circuit, "Z0 Z7", 8, partition_labels=labels)
    run(made, executor, shots=30_000, seed=4, pilot=0.0)
    first, second = executor.tasks[1:3]
    for mine, its in zip(first.entries, second.entries, strict=True):
        assert mine.template == its.template
        np.testing.assert_array_equal(mine.parameters, its.parameters)
    assert len({task.seed for task in executor.tasks}) == len(executor.tasks)
    drawn = [executor.sample([task])[0].histograms[0] for task in (first, second)]
    assert drawn[0].counts.tolist() != drawn[1].counts.tolist()


def test_pilot_allocation_beats_even_shots() -> None:
    circuit, labels, observables = gate_chain()
    made = plan(circuit, observables, 8, partition_labels=labels)
    executor = StateVectorExecutor()
    even = run(made, executor, shots=60_000, seed=1, pilot=0.0)
    learned = run(made, executor, shots=60_000, seed=1)
    assert np.square(learned.standard_errors).sum() < 0.6 * np.square(even.standard_errors).sum()
    spent = [part["shots"] for part in json.loads(to_json(learned.provenance))["fragments"]]
    assert sum(spent) == 60_000


def test_readout_mitigation_removes_the_bias_and_widens_error_bars() -> None:
    circuit, labels, observables = gate_chain()
    made = plan(circuit, observables, 8, partition_labels=labels)
    exact = run(made, StateVectorExecutor(), exact=True).values
    noisy = StateVectorExecutor(ReadoutError(0.03, 0.08))
    scores = []
    for seed in range(200):
        result = run(made, noisy, shots=65_000, seed=seed, readout_mitigation=True)
        scores.append((result.values - exact) / result.standard_errors)
    assert (np.std(scores, axis=0) > 0.85).all()
    assert (np.std(scores, axis=0) < 1.15).all()
    assert (np.abs(np.mean(scores, axis=0)) < 0.3).all()
    raw = run(made, noisy, shots=10**6, seed=1)
    mitigated = run(made, noisy, shots=10**6, seed=1, readout_mitigation=True)
    assert np.abs((raw.values - exact) / raw.standard_errors).max() > 5
    assert (mitigated.standard_errors > raw.standard_errors).all()
