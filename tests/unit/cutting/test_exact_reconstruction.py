"""Exact mode against the uncut state vector and against qiskit-addon-cutting's reconstruction."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from qiskit.circuit import QuantumCircuit
from qiskit.primitives import SamplerResult
from qiskit.quantum_info import Pauli, PauliList, Statevector
from qiskit.result import QuasiDistribution
from qiskit_addon_cutting import (
    cut_gates,
    cut_wires,
    expand_observables,
    generate_cutting_experiments,
    partition_problem,
    reconstruct_expectation_values,
)
from qiskit_addon_cutting.instructions import CutWire

from kubeqpu.cutting import plan, run
from kubeqpu.cutting.contraction import Network
from kubeqpu.cutting.exact import exact_experiments
from kubeqpu.cutting.executors import EstimatorEntry, EstimatorTask
from kubeqpu.cutting.experiments import sampling_experiments
from kubeqpu.cutting.finder import take_markers
from kubeqpu.cutting.fragments import CutPlaces, dump_circuits, split
from kubeqpu.cutting.reconstruction import exact_tensor
from tests.support.distributions import find_distribution

CHEAP = ["cx", "cz", "rzz", "crx", "cp", "ecr", "rxx"]
slow = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)


def append_gate(circuit, name, angle, first, second):
    angles = [angle] if name in ("rzz", "crx", "cp", "rxx", "ryy", "crz") else []
    getattr(circuit, name)(*angles, first, second)


def layer(circuit, rng, qubits):
    for qubit in qubits:
        circuit.u(*rng.uniform(-np.pi, np.pi, 3), qubit)


def random_labels(rng, width, count=5):
    found = {"".join(rng.choice(list("IXYZ"), width)): None for _ in range(count)}
    return list(found)


@st.composite
def gate_cut_circuits(draw):
    """Two or three blocks of qubits with one to three gates across."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    sizes = draw(st.lists(st.integers(1, 3), min_size=2, max_size=3))
    labels = "".join(letter * size for letter, size in zip("ABC", sizes, strict=False))
    circuit = QuantumCircuit(len(labels))
    crossings = draw(st.integers(1, 4))
    for _ in range(crossings):
        layer(circuit, rng, range(len(labels)))
        for qubit in range(len(labels) - 1):
            if labels[qubit] == labels[qubit + 1]:
                circuit.cx(qubit, qubit + 1)
        edge = draw(st.sampled_from(range(1, len(sizes))))
        across = sum(sizes[:edge])
        name = draw(st.sampled_from(CHEAP))
        append_gate(circuit, name, rng.uniform(-3, 3), across - 1, across)
    layer(circuit, rng, range(len(labels)))
    return circuit, labels, random_labels(rng, len(labels))


@st.composite
def wire_cut_circuits(draw):
    """A chain whose links are joined by one qubit each, marked with CutWire."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    cuts = draw(st.integers(1, 3))
    width = min(cuts, 2) + 2 + draw(st.integers(0, 2))
    circuit = QuantumCircuit(width)
    joints = sorted(rng.choice(range(1, width - 1), size=min(cuts, width - 2), replace=False))
    layer(circuit, rng, range(width))
    for qubit in range(width - 1):
        if qubit in joints:
            circuit.append(CutWire(), [qubit])
        circuit.cx(qubit, qubit + 1)
        layer(circuit, rng, (qubit, qubit + 1))
    return circuit, random_labels(rng, width)


def expectations(circuit, labels):
    state = Statevector(circuit)
    return np.array([state.expectation_value(Pauli(label)).real for label in labels])


def without_markers(circuit):
    return take_markers(circuit)[0]


def quasi_distributions(experiments):
    """Exact outcome distributions of the addon's experiments, identical ones computed once."""
    known = {}
    found = []
    for circuit in experiments:
        (bits,) = [item.size for item in circuit.cregs if item.name == "observable_measurements"]
        key = dump_circuits([circuit.copy(name="experiment")])
        if key not in known:
            known[key] = find_distribution(circuit)
        # Bit 0 is the parity of the cut's measurements; the addon has them above the observables'.
        found.append(
            QuasiDistribution(
                {
                    index >> 1 | (index & 1) << bits: weight
                    for index, weight in enumerate(known[key])
                    if weight > 0
                }
            )
        )
    return SamplerResult(found, [{}] * len(found))


def addon_values(circuit, observables, partition_labels=None):
    problem = partition_problem(circuit, partition_labels, PauliList(observables))
    experiments, coefficients = generate_cutting_experiments(
        problem.subcircuits, problem.subobservables, num_samples=np.inf
    )
    results = {label: quasi_distributions(items) for label, items in experiments.items()}
    return reconstruct_expectation_values(results, coefficients, problem.subobservables)


@given(gate_cut_circuits())
@slow
def test_gate_cuts_agree_with_state_vector(state_vector_executor, case):
    circuit, partition, labels = case
    made = plan(circuit, labels, 8, partition_labels=partition, max_cost=1e9)
    result = run(made, state_vector_executor(), exact=True)
    np.testing.assert_allclose(result.values, expectations(circuit, labels), atol=1e-10)
    assert (result.standard_errors == 0).all()


@given(wire_cut_circuits())
@slow
def test_wire_cuts_agree_with_state_vector(state_vector_executor, case):
    circuit, labels = case
    made = plan(circuit, labels, 8)
    result = run(made, state_vector_executor(), exact=True)
    np.testing.assert_allclose(
        result.values, expectations(without_markers(circuit), labels), atol=1e-10
    )


@st.composite
def mixed_cut_circuits(draw):
    """A wire-cut chain with one more qubit, whose only gate is cut; and that gate's number."""
    circuit, labels = draw(wire_cut_circuits())
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    mixed = QuantumCircuit(circuit.num_qubits + 1)
    mixed.compose(circuit, range(circuit.num_qubits), inplace=True)
    last = circuit.num_qubits
    mixed.u(*rng.uniform(-3, 3, 3), last)
    append_gate(mixed, rng.choice(CHEAP), rng.uniform(-3, 3), last - 1, last)
    number = len(mixed.data) - 1
    layer(mixed, rng, (last - 1, last))
    return mixed, number, [rng.choice(list("IXYZ")) + label for label in labels]


def mixed_values(state_vector_executor, mixed, number, labels):
    markers = sum(item.operation.name == "cut_wire" for item in mixed.data[:number])
    circuit, places = take_markers(mixed)
    places = CutPlaces(frozenset({number - markers}), places.wires)
    cuts, fragments = split(circuit, places, labels)
    assert {cut.name == "wire" for cut in cuts} == {True, False}
    executor = state_vector_executor()
    tensors = [evaluate(executor, exact_experiments(part, cuts)) for part in fragments]
    return Network(cuts, fragments).values(tensors)


@given(mixed_cut_circuits())
@slow
def test_mixed_cuts_agree_with_state_vector(state_vector_executor, case):
    mixed, number, labels = case
    values = mixed_values(state_vector_executor, mixed, number, labels)
    expected = expectations(without_markers(mixed), labels)
    np.testing.assert_allclose(values, expected, atol=1e-10)


@given(mixed_cut_circuits())
@settings(slow, max_examples=3)
def test_mixed_cuts_agree_with_the_addon(state_vector_executor, case):
    mixed, number, labels = case[0], case[1], case[2][:2]
    values = mixed_values(state_vector_executor, mixed, number, labels)
    moved = cut_wires(cut_gates(mixed, [number])[0])
    expected = addon_values(moved, expand_observables(PauliList(labels), mixed, moved))
    np.testing.assert_allclose(values, expected, atol=1e-10)


def evaluate(executor, experiments):
    if not experiments.blocks:
        return exact_tensor(experiments, ())
    entries = tuple(
        EstimatorEntry(block.template, block.parameters, block.observables)
        for block in experiments.blocks
    )
    task = EstimatorTask(0, "", dump_circuits(experiments.templates), entries)
    return exact_tensor(experiments, executor.evaluate([task])[0].values)


@given(gate_cut_circuits())
@settings(slow, max_examples=5)
def test_gate_cuts_agree_with_the_addon(state_vector_executor, case):
    circuit, partition, labels = case
    labels = labels[:2]
    made = plan(circuit, labels, 8, partition_labels=partition, max_cost=1e9)
    result = run(made, state_vector_executor(), exact=True)
    expected = addon_values(circuit, labels, partition)
    np.testing.assert_allclose(result.values, expected, atol=1e-10)


@given(wire_cut_circuits())
@settings(slow, max_examples=5)
def test_wire_cuts_agree_with_the_addon(state_vector_executor, case):
    circuit, labels = case[0], case[1][:2]
    result = run(plan(circuit, labels, 8), state_vector_executor(), exact=True)
    moved = cut_wires(circuit)
    expected = addon_values(moved, expand_observables(PauliList(labels), circuit, moved))
    np.testing.assert_allclose(result.values, expected, atol=1e-10)


@pytest.mark.parametrize("gate", ["swap", "iswap", "dcx", "ch", "csx", "cs", "crz", "cy", "ryy"])
def test_any_two_qubit_gate_can_be_cut(state_vector_executor, gate):
    rng = np.random.default_rng(5)
    circuit = QuantumCircuit(2)
    layer(circuit, rng, (0, 1))
    append_gate(circuit, gate, 0.7, 0, 1)
    layer(circuit, rng, (0, 1))
    labels = random_labels(rng, 2)
    cuts, fragments = split(circuit, CutPlaces(frozenset({2})), labels)
    executor = state_vector_executor()
    tensors = [evaluate(executor, exact_experiments(part, cuts)) for part in fragments]
    values = Network(cuts, fragments).values(tensors)
    np.testing.assert_allclose(values, expectations(circuit, labels), atol=1e-12)


def test_contraction_agrees_with_direct_sum(state_vector_executor):
    rng = np.random.default_rng(8)
    circuit = QuantumCircuit(5)
    layer(circuit, rng, range(5))
    for qubit in range(4):
        append_gate(circuit, "rzz", rng.uniform(-2, 2), qubit, qubit + 1)
        layer(circuit, rng, range(5))
    made = plan(circuit, random_labels(rng, 5), 8, partition_labels="ABBCC")
    executor = state_vector_executor()
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


def test_only_measured_or_not_changes_templates():
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


def test_wire_cut_fragment_is_one_template():
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
