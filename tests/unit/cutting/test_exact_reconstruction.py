"""Exact mode against the uncut state vector."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from qiskit.circuit import QuantumCircuit
from qiskit.quantum_info import Pauli, Statevector
from qiskit_addon_cutting.instructions import CutWire

from kubeqpu.cutting import plan, run
from kubeqpu.cutting.contraction import Network
from kubeqpu.cutting.exact import exact_experiments
from kubeqpu.cutting.experiments import sampling_experiments
from kubeqpu.cutting.finder import take_markers
from kubeqpu.cutting.fragments import CutPlaces, split
from tests.support.cut_circuits import (
    GateCase,
    MixedCase,
    WireCase,
    append_gate,
    evaluate,
    gate_cut_circuits,
    layer,
    mixed_cut_circuits,
    mixed_values,
    random_labels,
    wire_cut_circuits,
)
from tests.support.state_vector import StateVectorExecutor

FloatArray = npt.NDArray[np.float64]

slow = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)


def expectations(circuit: QuantumCircuit, labels: list[str]) -> FloatArray:
    state = Statevector(circuit)
    return np.array([state.expectation_value(Pauli(label)).real for label in labels])


def without_markers(circuit: QuantumCircuit) -> QuantumCircuit:
    return take_markers(circuit)[0]


@given(gate_cut_circuits())
@slow
def test_gate_cuts_agree_with_state_vector(case: GateCase) -> None:
    circuit, partition, labels = case
    made = plan(circuit, labels, 8, partition_labels=partition, max_cost=1e9)
    result = run(made, StateVectorExecutor(), exact=True)
    np.testing.assert_allclose(result.values, expectations(circuit, labels), atol=1e-10)
    assert (result.standard_errors == 0).all()


@given(wire_cut_circuits())
@slow
def test_wire_cuts_agree_with_state_vector(case: WireCase) -> None:
    circuit, labels = case
    made = plan(circuit, labels, 8)
    result = run(made, StateVectorExecutor(), exact=True)
    np.testing.assert_allclose(
        result.values, expectations(without_markers(circuit), labels), atol=1e-10
    )


@given(mixed_cut_circuits())
@slow
def test_mixed_cuts_agree_with_state_vector(case: MixedCase) -> None:
    mixed, number, labels = case
    values = mixed_values(mixed, number, labels)
    expected = expectations(without_markers(mixed), labels)
    np.testing.assert_allclose(values, expected, atol=1e-10)


@pytest.mark.parametrize("gate", ["swap", "iswap", "dcx", "ch", "csx", "cs", "crz", "cy", "ryy"])
def test_any_two_qubit_gate_can_be_cut(gate: str) -> None:
    rng = np.random.default_rng(5)
    circuit = QuantumCircuit(2)
    layer(circuit, rng, (0, 1))
    append_gate(circuit, gate, 0.7, 0, 1)
    layer(circuit, rng, (0, 1))
    labels = random_labels(rng, 2)
    cuts, fragments = split(circuit, CutPlaces(frozenset({2})), labels)
    executor = StateVectorExecutor()
    tensors = [evaluate(executor, exact_experiments(part, cuts)) for part in fragments]
    values = Network(cuts, fragments).values(tensors)
    np.testing.assert_allclose(values, expectations(circuit, labels), atol=1e-12)


def test_contraction_agrees_with_direct_sum() -> None:
    rng = np.random.default_rng(8)
    circuit = QuantumCircuit(5)
    layer(circuit, rng, range(5))
    for qubit in range(4):
        append_gate(circuit, "rzz", rng.uniform(-2, 2), qubit, qubit + 1)
        layer(circuit, rng, range(5))
    made = plan(circuit, random_labels(rng, 5), 8, partition_labels="ABBCC")
    executor = StateVectorExecutor()
    tensors = [evaluate(executor, exact_experiments(part, made.cuts)) for part in made.fragments]
    network = Network(made.cuts, made.fragments)
    direct = np.zeros(len(made.terms))
    for choice in np.ndindex(*(size for cut in made.cuts for size in cut.matrix.shape)):
        weight = np.prod([cut.matrix[choice[2 * c : 2 * c + 2]] for c, cut in enumerate(made.cuts)])
        for term in range(len(made.terms)):
            factors = [
                tensor[(*(choice[2 * e.cut + e.side] for e in part.ends), part.terms[term])]
                for tensor, part in zip(tensors, made.fragments, strict=True)
            ]
            direct[term] += weight * np.prod(factors)
    np.testing.assert_allclose(network.values(tensors), direct, atol=1e-12)
    # The value is linear in each fragment's tensor, so gradient times tensor gives it back.
    for tensor, part, gradient in zip(
        tensors, made.fragments, network.gradients(tensors), strict=True
    ):
        product = (gradient * tensor[..., list(part.terms)]).reshape(-1, len(made.terms))
        np.testing.assert_allclose(product.sum(axis=0), direct, atol=1e-12)


def test_only_measured_or_not_changes_templates() -> None:
    circuit = QuantumCircuit(6)
    for _ in range(2):
        circuit.rx(0.4, range(6))
        for qubit in range(5):
            circuit.rzz(0.3, qubit, qubit + 1)
    made = plan(circuit, ["ZIIIIZ"], 2, partition_labels="AABBCC")
    middle = made.fragments[1]
    assert len(middle.ends) == 4
    found = sampling_experiments(middle, made.cuts)
    # The one where nothing is measured is not run: nothing is observed on this fragment.
    assert len(found.templates) == 2**4 - 1
    assert found.rows <= 5**4
    assert max(template.num_qubits for template in found.templates) == 2


def test_wire_cut_fragment_is_one_template() -> None:
    circuit = QuantumCircuit(3)
    circuit.ry(0.3, [0, 1, 2])
    circuit.cx(0, 1)
    circuit.append(CutWire(), [1])
    circuit.cx(1, 2)
    made = plan(circuit, ["ZZZ", "XII"], 2)
    for fragment in made.fragments:
        found = sampling_experiments(fragment, made.cuts)
        assert len(found.templates) == 1
        assert all(
            item.operation.name != "reset" and item.operation.num_qubits <= 2
            for item in found.templates[0].data
        )
    assert [sampling_experiments(f, made.cuts).rows for f in made.fragments] == [3, 12]
