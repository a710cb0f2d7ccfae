"""The ideal simulator against Qiskit's own statevectors and Aer's own shots."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import JsonValue
from qiskit import QuantumCircuit
from qiskit.circuit import ParameterVector
from qiskit.circuit.random import random_circuit
from qiskit.quantum_info import SparsePauliOp, Statevector
from qiskit_aer import AerSimulator
from scipy.stats import chi2_contingency, chisquare

from kubeqpu.proto.v1 import gateway_pb2
from kubeqpu.qpu_gateway.errors import CircuitError
from kubeqpu.qpu_gateway.providers.base import Span
from kubeqpu.qpu_gateway.simulation.deferral import defer_measurements
from kubeqpu.qpu_gateway.simulation.ideal import IdealSettings, IdealSimulation
from kubeqpu.qpu_gateway.simulation.lowering import lower_for_aer
from kubeqpu.qpu_gateway.simulation.measurements import plan_measurements
from tests.support.simulation import dump, frequencies, parameter_array, run, sampler_spec


def ansatz(num_qubits: int = 3) -> QuantumCircuit:
    angles = ParameterVector("t", 2 * num_qubits)
    circuit = QuantumCircuit(num_qubits, num_qubits)
    for qubit in range(num_qubits):
        circuit.ry(angles[qubit], qubit)
    for qubit in range(num_qubits - 1):
        circuit.cx(qubit, qubit + 1)
    for qubit in range(num_qubits):
        circuit.rx(angles[num_qubits + qubit] * 2 + 0.1, qubit)
    circuit.measure(range(num_qubits), range(num_qubits))
    return circuit


def random_middle(seed: int) -> QuantumCircuit:
    """A circuit with measurements, repeated ones too, and resets in its middle."""
    generator = np.random.default_rng(seed)
    circuit = QuantumCircuit(3, 5)
    for layer in range(3):
        circuit.compose(random_circuit(3, 2, max_operands=2, seed=seed + layer), inplace=True)
        qubit, clbit = (int(generator.integers(size)) for size in (3, 4))
        if generator.random() < 0.7:
            circuit.measure(qubit, clbit)
        if generator.random() < 0.4:
            circuit.reset(qubit if generator.random() < 0.7 else (qubit + 1) % 3)
    circuit.h(0)
    circuit.measure([0, 1], [3, 4])
    return circuit


def distribution(circuit: QuantumCircuit) -> np.ndarray:
    """Exact probabilities over all classical bits, from the deferred circuit's statevector."""
    lowered = lower_for_aer(circuit, 10**6)
    deferred = defer_measurements(lowered, plan_measurements(lowered))
    joint = Statevector(deferred.circuit).probabilities()
    found = np.zeros(2**circuit.num_clbits)
    for index, probability in enumerate(joint):
        value = sum((index >> wire & 1) << clbit for clbit, wire in deferred.outputs.items())
        found[value] += probability
    return found


def pooled(seen: np.ndarray, expected: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Joins outcomes too rare for a chi-square test into one."""
    common = expected > 5
    return (
        np.append(seen[common], seen[~common].sum()),
        np.append(expected[common], expected[~common].sum() + 1e-9),
    )


@pytest.mark.parametrize("seed", range(6))
def test_samples_agree_with_the_statevector(seed: int) -> None:
    circuit = random_circuit(4, 4, max_operands=3, seed=seed)
    expected = 20_000 * Statevector(circuit).probabilities()
    circuit.measure_all()
    (chunk,) = run(sampler_spec(circuit, shots=[20_000]), [Span(0, 0, 1)])
    seen = frequencies(chunk.counts.rows[0], 4)
    assert chunk.execution.method == "aer-statevector"
    assert seen[expected < 1e-9].sum() == 0
    assert chisquare(*pooled(seen, expected)).pvalue > 1e-3


@pytest.mark.parametrize("seed", range(8))
def test_deferral_agrees_with_measuring_in_the_middle(seed: int) -> None:
    circuit = random_middle(seed)
    ours = 20_000 * distribution(circuit)
    (chunk,) = run(sampler_spec(circuit, shots=[20_000]), [Span(0, 0, 1)])
    assert chisquare(*pooled(frequencies(chunk.counts.rows[0], 5), ours)).pvalue > 1e-3
    result = AerSimulator().run(lower_for_aer(circuit, 10**6), shots=20_000, seed_simulator=seed)
    theirs = np.zeros(32)
    for outcome, count in result.result().get_counts().items():
        theirs[int(outcome, 2)] = count
    assert chisquare(*pooled(theirs, ours)).pvalue > 1e-3


def test_conditions_run_shot_by_shot_with_the_seed_of_the_row() -> None:
    circuit = QuantumCircuit(2, 2)
    circuit.h(0)
    circuit.measure(0, 0)
    with circuit.if_test((circuit.clbits[0], 1)):
        circuit.x(1)
    circuit.measure(1, 1)
    spec = sampler_spec(circuit, np.zeros((3, 0)), shots=[1000])
    whole = [row for chunk in run(spec, [Span(0, 0, 3)]) for row in chunk.counts.rows]
    alone = [run(spec, [Span(0, row, 1)])[0].counts.rows[0] for row in range(3)]
    assert whole == alone
    assert whole[0] != whole[1]
    for row in whole:
        zeros, _, _, ones = frequencies(row, 2)
        assert zeros + ones == 1000
        assert abs(zeros - 500) < 80


ROWS = 12
VALUES = np.random.default_rng(5).uniform(-3, 3, (ROWS, 6))


def cuts(points: set[int]) -> list[Span]:
    edges = [0, *sorted(points), ROWS]
    return [Span(0, first, end - first) for first, end in itertools.pairwise(edges)]


@settings(max_examples=15, deadline=None)
@given(
    points=st.sets(st.integers(1, ROWS - 1)),
    result_format=st.sampled_from(
        [gateway_pb2.RESULT_FORMAT_BITS, gateway_pb2.RESULT_FORMAT_COUNTS]
    ),
)
def test_samples_do_not_depend_on_the_batches(
    points: set[int], result_format: gateway_pb2.ResultFormat.ValueType
) -> None:
    spec = sampler_spec(ansatz(), VALUES, range(50, 50 + ROWS), result_format)
    one = run(spec, [Span(0, 0, ROWS)])
    many = [chunk for span in cuts(points) for chunk in run(spec, [span])]
    if result_format == gateway_pb2.RESULT_FORMAT_COUNTS:
        assert [r for c in one for r in c.counts.rows] == [r for c in many for r in c.counts.rows]
    else:
        assert b"".join(c.bits.registers[0].data for c in one) == b"".join(
            c.bits.registers[0].data for c in many
        )


def observables() -> list[gateway_pb2.Observable]:
    first = [("IZZ", 0.7), ("XXI", -0.4), ("III", 1.5), ("ZII", 0.2)]
    second = [("YIY", 1.0), ("IIX", 0.5)]
    return [
        gateway_pb2.Observable(
            terms=[gateway_pb2.PauliTerm(pauli=p, coefficient=c) for p, c in terms]
        )
        for terms in (first, second)
    ]


def estimator_spec(
    circuit: QuantumCircuit,
    values: np.ndarray,
    exact: bool = False,
    precision: float = 0.05,
    pairs: list[int] | None = None,
) -> gateway_pb2.JobSpec:
    entry = gateway_pb2.EstimatorEntry(
        template=0,
        parameters=parameter_array(values),
        observables=observables(),
        precision=precision,
        pairs=pairs or [],
    )
    estimator = gateway_pb2.EstimatorSpec(entries=[entry], exact=exact)
    return gateway_pb2.JobSpec(circuits=dump(circuit), estimator=estimator, seed=3)


def exact_values(circuit: QuantumCircuit, values: np.ndarray) -> np.ndarray:
    bare = circuit.remove_final_measurements(inplace=False)
    states = [Statevector(bare.assign_parameters(row)) for row in values]
    operators = [
        SparsePauliOp.from_list([(term.pauli, term.coefficient) for term in item.terms])
        for item in observables()
    ]
    return np.array([[state.expectation_value(op).real for op in operators] for state in states])


def test_exact_values_are_those_of_the_statevector() -> None:
    chunks = run(estimator_spec(ansatz(), VALUES, exact=True), [Span(0, 0, ROWS)])
    found = [value for chunk in chunks for value in chunk.expectation.values]
    expected = exact_values(ansatz(), VALUES)
    assert np.abs(np.reshape(found, expected.shape) - expected).max() < 1e-12
    assert not any(any(chunk.expectation.variances) for chunk in chunks)


def test_exact_values_with_an_unused_qubit_and_a_measurement_in_the_middle() -> None:
    circuit = QuantumCircuit(3, 1)
    circuit.ry(0.8, 0)
    circuit.measure(0, 0)
    circuit.cx(0, 1)
    (chunk,) = run(estimator_spec(circuit, np.zeros((1, 0)), exact=True), [Span(0, 0, 1)])
    # ⟨IZZ⟩ = 1, ⟨XXI⟩ = 0, ⟨ZII⟩ = 1 on the unused qubit; the measurement dephased qubit 0.
    assert list(chunk.expectation.values) == pytest.approx([0.7 + 1.5 + 0.2, 0.0])


def test_estimates_have_the_errors_they_state() -> None:
    values = np.tile(VALUES[:2], (300, 1))
    chunks = run(estimator_spec(ansatz(), values), [Span(0, 0, 600)])
    means = np.concatenate([chunk.expectation.values for chunk in chunks]).reshape(300, 2, 2)
    variances = np.concatenate([c.expectation.variances for c in chunks]).reshape(300, 2, 2)
    scores = (means - exact_values(ansatz(), VALUES[:2])) / np.sqrt(variances)
    assert np.abs(scores.mean(axis=0)).max() < 4 / math.sqrt(300)
    assert 0.9 < scores.std() < 1.1
    # IZZ with ZII, XXI with IIX, and YIY: three bases.
    assert chunks[0].expectation.shots[0] == 3 * 400


@settings(max_examples=10, deadline=None)
@given(points=st.sets(st.integers(1, ROWS - 1)))
def test_estimates_do_not_depend_on_the_batches(points: set[int]) -> None:
    spec = estimator_spec(ansatz(), VALUES)
    one = [v for c in run(spec, [Span(0, 0, ROWS)]) for v in c.expectation.values]
    many = [v for s in cuts(points) for c in run(spec, [s]) for v in c.expectation.values]
    assert one == many


def test_pairs_are_evaluated_in_the_order_asked_for() -> None:
    everything = run(estimator_spec(ansatz(), VALUES), [Span(0, 0, ROWS)])[0].expectation.values
    pairs = [2, 1, 0, 0, 7, 1, 2, 0]
    (chunk,) = run(estimator_spec(ansatz(), VALUES, pairs=pairs), [Span(0, 0, ROWS)])
    assert list(chunk.expectation.values) == [
        everything[2 * r + o] for r, o in [(2, 1), (0, 0), (7, 1), (2, 0)]
    ]
    assert chunk.expectation.shots[3] == 0
    assert chunk.expectation.shots[2] > chunk.expectation.shots[0] > 0


def test_wide_circuits_run_as_matrix_product_states() -> None:
    wide = QuantumCircuit(40, 40)
    wide.h(0)
    for qubit in range(39):
        wide.cx(qubit, qubit + 1)
    wide.measure(range(40), range(40))
    engine: dict[str, JsonValue] = {
        "kind": "ideal",
        "settings": {"qpu": "wide", "num_qubits": 50},
    }
    (chunk,) = run(sampler_spec(wide, shots=[400]), [Span(0, 0, 1)], engine)
    row = chunk.counts.rows[0]
    assert chunk.execution.method == "aer-matrix-product-state"
    assert row.outcomes == bytes(5) + b"\xff" * 5
    assert abs(row.counts[0] - 200) < 60


def test_many_measured_bits_are_sampled_by_aer_with_the_seed_of_the_row() -> None:
    circuit = QuantumCircuit(22, 22)
    circuit.h(range(2))
    for qubit in range(21):
        circuit.cx(qubit, qubit + 1)
    circuit.measure(range(22), range(22))
    spec = sampler_spec(circuit, np.zeros((2, 0)), shots=[200])
    whole = [row for chunk in run(spec, [Span(0, 0, 2)]) for row in chunk.counts.rows]
    assert whole[1] == run(spec, [Span(0, 1, 1)])[0].counts.rows[0]
    assert whole[0] != whole[1]
    assert sum(whole[0].counts) == 200


def test_parameters_that_are_not_finite_are_refused() -> None:
    with pytest.raises(CircuitError, match="finite"):
        run(sampler_spec(ansatz(), np.full((1, 6), np.nan)), [Span(0, 0, 1)])


def test_circuits_wider_than_the_simulator_are_refused() -> None:
    simulation = IdealSimulation(IdealSettings(qpu="narrow", num_qubits=2))
    with pytest.raises(CircuitError, match="has 3 qubits, narrow takes 2"):
        simulation.compile_sampler(QuantumCircuit(3, 3), {}, 100)


def test_equal_rows_have_different_samples() -> None:
    spec = sampler_spec(ansatz(), np.tile(VALUES[:1], (2, 1)), shots=[5000])
    rows = [frequencies(row, 3) for c in run(spec, [Span(0, 0, 2)]) for row in c.counts.rows]
    assert (rows[0] != rows[1]).any()
    assert chi2_contingency(np.array(rows) + 1).pvalue > 1e-3
