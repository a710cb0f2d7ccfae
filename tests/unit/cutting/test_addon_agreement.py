"""Exact mode against qiskit-addon-cutting's reconstruction of exact distributions."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from hypothesis import HealthCheck, given, settings
from qiskit.circuit import QuantumCircuit
from qiskit.primitives import SamplerResult
from qiskit.quantum_info import PauliList
from qiskit.result import QuasiDistribution
from qiskit_addon_cutting import (
    cut_gates,
    cut_wires,
    expand_observables,
    generate_cutting_experiments,
    partition_problem,
    reconstruct_expectation_values,
)

from kubeqpu.cutting import plan, run
from kubeqpu.cutting.fragments import dump_circuits
from tests.support.cut_circuits import (
    GateCase,
    MixedCase,
    WireCase,
    gate_cut_circuits,
    mixed_cut_circuits,
    mixed_values,
    wire_cut_circuits,
)
from tests.support.distributions import find_distribution
from tests.support.state_vector import StateVectorExecutor

slow = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)


def quasi_distributions(experiments: Sequence[QuantumCircuit]) -> SamplerResult:
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


def addon_values(
    circuit: QuantumCircuit, observables: list[str] | PauliList, partition_labels: str | None = None
) -> npt.NDArray[np.float64]:
    problem = partition_problem(circuit, partition_labels, PauliList(observables))
    experiments, coefficients = generate_cutting_experiments(
        problem.subcircuits, problem.subobservables, num_samples=np.inf
    )
    results = {label: quasi_distributions(items) for label, items in experiments.items()}
    return np.array(reconstruct_expectation_values(results, coefficients, problem.subobservables))


@given(mixed_cut_circuits())
@settings(slow, max_examples=3)
def test_mixed_cuts_agree_with_the_addon(case: MixedCase) -> None:
    mixed, number, labels = case[0], case[1], case[2][:2]
    values = mixed_values(mixed, number, labels)
    moved = cut_wires(cut_gates(mixed, [number])[0])
    expected = addon_values(moved, expand_observables(PauliList(labels), mixed, moved))
    np.testing.assert_allclose(values, expected, atol=1e-10)


@given(gate_cut_circuits())
@settings(slow, max_examples=5)
def test_gate_cuts_agree_with_the_addon(case: GateCase) -> None:
    circuit, partition, labels = case
    labels = labels[:2]
    made = plan(circuit, labels, 8, partition_labels=partition, max_cost=1e9)
    result = run(made, StateVectorExecutor(), exact=True)
    expected = addon_values(circuit, labels, partition)
    np.testing.assert_allclose(result.values, expected, atol=1e-10)


@given(wire_cut_circuits())
@settings(slow, max_examples=5)
def test_wire_cuts_agree_with_the_addon(case: WireCase) -> None:
    circuit, labels = case[0], case[1][:2]
    result = run(plan(circuit, labels, 8), StateVectorExecutor(), exact=True)
    moved = cut_wires(circuit)
    expected = addon_values(moved, expand_observables(PauliList(labels), circuit, moved))
    np.testing.assert_allclose(result.values, expected, atol=1e-10)
