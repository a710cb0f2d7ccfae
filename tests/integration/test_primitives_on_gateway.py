"""Qiskit's primitives on a real gateway give what Qiskit's own give."""

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import BroadcastableShapes, mutually_broadcastable_shapes
from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister, transpile
from qiskit.circuit import Parameter
from qiskit.circuit.library import get_standard_gate_name_mapping
from qiskit.primitives import (
    BackendEstimatorV2,
    BackendSamplerV2,
    StatevectorEstimator,
    StatevectorSampler,
)
from qiskit.quantum_info import SparsePauliOp

from kubeqpu.client import (
    GatewayClient,
)
from kubeqpu.client.qiskit import (
    EstimatorOptions,
    GatewayBackend,
    GatewayEstimator,
    GatewaySampler,
    SamplerOptions,
)
from tests.support.circuits import ansatz

relaxed = settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


OBSERVABLES = ["ZZZ", "XIX", {"ZIZ": 0.5, "YYI": -2.0}, SparsePauliOp(["IXI", "ZZI"], [1.5, 0.25])]


CROSSED = BroadcastableShapes(input_shapes=((1, 3), (2, 1)), result_shape=(2, 3))


@relaxed
@example(shapes=CROSSED, seed=1)
@given(
    shapes=mutually_broadcastable_shapes(num_shapes=2, max_dims=3, max_side=3),
    seed=st.integers(0, 2**32),
)
def test_exact_estimates_agree_with_qiskit_for_all_shapes(
    client: GatewayClient, shapes: BroadcastableShapes, seed: int
) -> None:
    random = np.random.default_rng(seed)
    values = random.uniform(-4, 4, (*shapes.input_shapes[0], 2))
    observables = np.empty(shapes.input_shapes[1], dtype=object)
    for index in np.ndindex(observables.shape):
        observables[index] = OBSERVABLES[random.integers(len(OBSERVABLES))]
    pub = (ansatz(), observables.tolist(), values)
    ours = GatewayEstimator(client).run([pub], precision=0).result()[0]
    theirs = StatevectorEstimator().run([pub]).result()[0]
    assert ours.data.shape == shapes.result_shape
    np.testing.assert_allclose(ours.data.evs, theirs.data.evs, atol=1e-10)
    np.testing.assert_allclose(ours.data.stds, 0, atol=1e-10)


def test_every_standard_gate_takes_its_parameters_from_the_row(client: GatewayClient) -> None:
    # Simulators have bound parameters of some gates wrongly, without an error.
    pubs = []
    for name, gate in get_standard_gate_name_mapping().items():
        if gate.params and name not in {"delay", "global_phase"}:
            free = gate.to_mutable()
            free.params = [Parameter(f"t{index}") for index in range(len(gate.params))]
            circuit = QuantumCircuit(gate.num_qubits)
            circuit.compose(rotated(gate.num_qubits), inplace=True)
            circuit.append(free, range(gate.num_qubits))
            circuit.compose(rotated(gate.num_qubits), inplace=True)
            observables = [letter * gate.num_qubits for letter in "XYZ"]
            pubs.append((circuit, observables, np.linspace(0.3, 1.9, len(gate.params))))
    assert len(pubs) > 15
    ours = GatewayEstimator(client).run(pubs, precision=0).result()
    theirs = StatevectorEstimator().run(pubs).result()
    for pub, got, expected in zip(pubs, ours, theirs, strict=True):
        name = pub[0].data[2 * pub[0].num_qubits].operation.name
        np.testing.assert_allclose(got.data.evs, expected.data.evs, atol=1e-10, err_msg=name)


def rotated(qubits: int) -> QuantumCircuit:
    circuit = QuantumCircuit(qubits)
    for qubit in range(qubits):
        circuit.ry(0.4 + qubit, qubit)
        circuit.rz(0.9 + qubit, qubit)
    return circuit


def test_estimates_scatter_as_their_errors_say(client: GatewayClient) -> None:
    values = np.random.default_rng(3).uniform(-3, 3, (150, 2))
    observables = [["ZZI"], ["XII"], [{"ZIZ": 0.5, "IYI": -0.7}]]
    options = EstimatorOptions(default_precision=0.05, seed=4)
    pub = (ansatz(), observables, values)
    ours = GatewayEstimator(client, options=options).run([pub]).result()[0].data
    exact = StatevectorEstimator().run([pub]).result()[0].data.evs
    assert ours.evs.shape == exact.shape == (3, 150)
    assert np.all(ours.stds <= 0.05 * 1.1)
    spread = ours.stds > 0.01  # near eigenstates nothing scatters
    z = (ours.evs - exact)[spread] / ours.stds[spread]
    assert 0.85 < np.std(z) < 1.15
    assert abs(np.mean(z)) < 0.2


@relaxed
@given(st.lists(st.integers(1, 3), max_size=2), st.integers(0, 2**32))
def test_samples_agree_with_qiskit(client: GatewayClient, shape: list[int], seed: int) -> None:
    values = np.random.default_rng(seed).uniform(-4, 4, (*shape, 2))
    qubits, right, left = QuantumRegister(3), ClassicalRegister(2, "b"), ClassicalRegister(9, "a")
    circuit = QuantumCircuit(qubits, right, left)
    circuit.compose(ansatz(), inplace=True)
    circuit.measure([0, 1, 2], [1, 2, 10])
    pub = (circuit, values, 1000)
    ours = GatewaySampler(client, options=SamplerOptions(seed=seed)).run([pub]).result()[0]
    theirs = StatevectorSampler(seed=seed).run([pub]).result()[0]
    assert list(ours.data) == list(theirs.data)
    for name in theirs.data:
        got, expected = ours.data[name], theirs.data[name]
        assert (got.array.shape, got.num_bits) == (expected.array.shape, expected.num_bits)
        for index in np.ndindex(got.shape):
            counts, others = got.get_int_counts(index), expected.get_int_counts(index)
            distance = sum(abs(counts.get(k, 0) - others.get(k, 0)) for k in counts | others)
            assert distance / 1000 < 0.3


def test_qiskits_wrappers_run_on_the_gateway(client: GatewayClient) -> None:
    backend = GatewayBackend(client)
    assert backend.num_qubits == 30
    circuit = ansatz().assign_parameters([np.pi, 0.0])
    measured = transpile(circuit.measure_all(inplace=False), backend)
    sampled = BackendSamplerV2(backend=backend).run([measured], shots=100).result()[0].data.meas
    assert {word[:2] for word in sampled.get_counts()} == {"11"}
    estimator = BackendEstimatorV2(backend=backend)
    value = estimator.run([(circuit, "ZZI")], precision=0.1).result()[0].data.evs
    assert value == pytest.approx(1.0)
