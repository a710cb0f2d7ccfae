"""Plans: which cuts are chosen, what is refused, and that plans survive being written."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from qiskit.circuit import QuantumCircuit
from qiskit.circuit.library import UnitaryGate, get_standard_gate_name_mapping
from qiskit.quantum_info import Operator, Pauli, PauliList, SparsePauliOp, random_unitary
from qiskit_addon_cutting import cut_gates
from qiskit_addon_cutting.instructions import CutWire

from kubeqpu.cutting import InvalidInputError, NoPlanError, Plan, plan, run
from kubeqpu.cutting.finder import find_places
from kubeqpu.cutting.inputs import normalise
from kubeqpu.cutting.partitions import propose_partitions
from kubeqpu.cutting.recollection import keep_light_cone, recollect
from tests.support.state_vector import StateVectorExecutor


def ising_chain(width: int, steps: int) -> QuantumCircuit:
    circuit = QuantumCircuit(width)
    for _ in range(steps):
        for qubit in range(width - 1):
            circuit.cx(qubit, qubit + 1)
            circuit.rz(0.4, qubit + 1)
            circuit.cx(qubit, qubit + 1)
        circuit.rx(0.5, range(width))
    return circuit


def test_ising_chain_is_cut_at_four_rotations() -> None:
    made = plan(ising_chain(21, 2), "Z0 Z20", 7, finder_seconds=0)
    assert [part.num_qubits for part in made.fragments] == [7, 7, 7]
    assert {cut.name for cut in made.cuts} == {"rzz(-0.4)"}
    assert made.kappa_squared == pytest.approx((1 + 2 * np.sin(0.4)) ** 8)
    assert 100 < made.kappa_squared < 101


def test_finder_in_a_child_agrees_with_the_partition_search() -> None:
    circuit = recollect(ising_chain(8, 1))
    found = find_places(circuit, 4, 60.0)
    assert found is not None
    assert len(found.gates) == 1
    assert not found.wires


def test_finder_gives_up_in_time() -> None:
    assert find_places(recollect(ising_chain(8, 1)), 4, 0.01) is None


def test_one_width_per_qpu() -> None:
    made = plan(ising_chain(12, 1), "Z0 Z11", [3, 5, 4], finder_seconds=0)
    assert sorted(part.num_qubits for part in made.fragments) == [3, 4, 5]


def test_no_cuts_where_none_are_needed() -> None:
    made = plan(ising_chain(5, 1), "Z0", 5)
    assert made.cuts == ()
    assert made.kappa_squared == 1.0
    assert "needs no cuts" in made.describe()


def test_light_cone_makes_cuts_needless() -> None:
    made = plan(ising_chain(30, 1), "Z0", 4, finder_seconds=0)
    assert made.cuts == ()
    assert sum(part.num_qubits for part in made.fragments) <= 4


def test_wire_markers_are_taken() -> None:
    circuit = QuantumCircuit(3)
    circuit.ry(0.4, range(3))
    circuit.cx(0, 1)
    circuit.append(CutWire(), [1])
    circuit.cx(1, 2)
    made = plan(circuit, "ZZZ", 2)
    assert [cut.name for cut in made.cuts] == ["wire"]
    assert made.kappa_squared == pytest.approx(16.0)


def test_marked_gates_are_taken() -> None:
    circuit = ising_chain(4, 1)
    middle = [
        number
        for number, item in enumerate(circuit.data)
        if item.operation.name == "cx" and circuit.find_bit(item.qubits[0]).index == 1
    ]
    marked, _ = cut_gates(circuit, middle)
    made = plan(marked, ["ZZZZ", "XIIX"], 2)
    assert len(made.cuts) == 2
    exact = plan(circuit, ["ZZZZ", "XIIX"], 4)
    executor = StateVectorExecutor()
    np.testing.assert_allclose(
        run(made, executor, exact=True).values, run(exact, executor, exact=True).values, atol=1e-10
    )


def test_describe_tells_cost_and_when_cutting_does_not_pay() -> None:
    made = plan(ising_chain(12, 2), "Z0 Z11", 6, finder_seconds=0)
    text = made.describe(shots=10_000)
    assert "2 cuts" in text
    assert "local experiments" in text
    assert "QPU seconds" in text
    assert f"{made.predict_standard_error(10_000):.3f}" in text
    labelled = plan(ising_chain(6, 1), "Z0 Z5", 6, partition_labels="AAABBB")
    assert "does not pay" in labelled.describe()


def test_prediction_is_an_upper_estimate() -> None:
    made = plan(ising_chain(9, 2), "Z0 Z8", 3, finder_seconds=0)
    result = run(made, StateVectorExecutor(), shots=100_000, seed=3)
    assert result.standard_errors[0] < made.predict_standard_error(100_000)


@pytest.mark.parametrize(
    ("circuit", "options", "reason"),
    [
        (ising_chain(12, 4), {"max_cost": 50.0}, "above the limit of 50"),
        (ising_chain(4, 1), {"max_rows": 9}, "above the limit of 9"),
        (ising_chain(4, 1), {"partition_labels": "AAAB"}, r"leave fragments of \[3, 1\]"),
    ],
)
def test_plans_beyond_the_limits_are_refused(
    circuit: QuantumCircuit, options: Mapping[str, Any], reason: str
) -> None:
    with pytest.raises(NoPlanError, match=reason):
        plan(circuit, "Z" * circuit.num_qubits, 2, finder_seconds=0, **options)


def test_plan_survives_json() -> None:
    made = plan(ising_chain(9, 2), ["Z0 Z8", "0.5 X0 + Z3"], 3, finder_seconds=0)
    again = Plan.from_json(made.to_json())
    assert again == made
    assert again.digest == made.digest


def test_equal_input_gives_equal_plans() -> None:
    first = plan(ising_chain(9, 2), "Z0 Z8", 3, finder_seconds=0)
    second = plan(ising_chain(9, 2), "Z0 Z8", 3, finder_seconds=0)
    assert first.to_json() == second.to_json()
    other = plan(ising_chain(9, 1), "Z0 Z8", 3, finder_seconds=0)
    assert other.circuit_digest != first.circuit_digest


two_qubit_gates = sorted(
    name
    for name, gate in get_standard_gate_name_mapping().items()
    if gate.num_qubits == 2 and not gate.params and name not in {"delay"}
)


@given(st.integers(0, 2**32 - 1), st.lists(st.sampled_from(two_qubit_gates), max_size=8))
@settings(deadline=None, max_examples=40)
def test_recollection_keeps_the_unitary(seed: int, names: list[str]) -> None:
    rng = np.random.default_rng(seed)
    circuit = QuantumCircuit(4)
    for name in names:
        first, second = rng.choice(4, 2, replace=False)
        circuit.u(*rng.uniform(-3, 3, 3), int(first))
        circuit.append(get_standard_gate_name_mapping()[name], [int(first), int(second)])
    circuit.append(UnitaryGate(random_unitary(4, seed=int(seed % 1000))), [0, 1])
    assert Operator(recollect(normalise(circuit))).equiv(Operator(circuit))


def test_light_cone_keeps_expectation_values() -> None:
    circuit = ising_chain(6, 2)
    small = keep_light_cone(circuit, ["IIIIIZ"])
    assert len(small.data) < len(circuit.data)
    label = Pauli("IIIIIZ")
    before = Operator(circuit).data[:, 0]
    after = Operator(small).data[:, 0]
    matrix = label.to_matrix()
    assert np.vdot(before, matrix @ before) == pytest.approx(np.vdot(after, matrix @ after))


@given(st.integers(2, 9), st.integers(0, 2**32 - 1), st.integers(1, 5))
@settings(deadline=None, max_examples=50)
def test_proposed_partitions_keep_the_limit(count: int, seed: int, limit: int | list[int]) -> None:
    rng = np.random.default_rng(seed)
    weights = np.triu(
        rng.uniform(size=(count, count)) * (rng.uniform(size=(count, count)) < 0.5), 1
    )
    proposals = list(propose_partitions(weights + weights.T, limit))
    assert proposals
    for labels in proposals:
        assert len(labels) == count
        assert np.bincount(labels).max() <= limit


def test_observables_in_every_spelling() -> None:
    circuit = ising_chain(3, 1)
    forms = [
        "ZIZ",
        "Z0 Z2",
        Pauli("ZIZ"),
        SparsePauliOp("ZIZ"),
        PauliList(["ZIZ"]),
        {"ends": "Z0 Z2"},
        ["1.0 Z0 Z2"],
    ]
    for form in forms:
        made = plan(circuit, form, 3)
        assert made.terms == ("ZIZ",)
    summed = plan(circuit, "0.5 Z0 Z2 - 2 X1 + 3", 3)
    assert dict(summed.observables[0].terms) == {"ZIZ": 0.5, "IXI": -2.0, "III": 3.0}


@pytest.mark.parametrize(
    ("observable", "reason"),
    [
        ("ZZ", "acts on 2 qubits, but the circuit has 3"),
        ("Z0 Z7", "qubit 7 is not below 3"),
        ("Z0 Z0", "qubit 0 is named twice"),
        ("Z0 + foo", "cannot be read at '. foo'"),
        ("", "empty"),
        ([], "no observables"),
        (["Z0", "Z0"], "given twice"),
        (SparsePauliOp("ZZZ", [1j]), "Hermitian"),
        (SparsePauliOp("ZZZ", [np.nan]), "nan"),
    ],
)
def test_bad_observables_are_refused(observable: Any, reason: str) -> None:
    with pytest.raises(InvalidInputError, match=reason):
        plan(ising_chain(3, 1), observable, 3)


def test_untouched_qubits_are_evaluated_at_once() -> None:
    circuit = QuantumCircuit(4)
    circuit.ry(0.3, 1)
    made = plan(circuit, ["ZZIZ", "XZIZ", "IZZI"], 2)
    assert [part.num_qubits for part in made.fragments] == [1]
    values = run(made, StateVectorExecutor(), exact=True).values
    np.testing.assert_allclose(values, [1.0, 0.0, np.cos(0.3)], atol=1e-12)
