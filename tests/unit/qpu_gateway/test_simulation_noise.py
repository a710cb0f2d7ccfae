"""Noise filtered to the used qubits, against Aer's own noise on whole devices."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from qiskit import QuantumCircuit
from qiskit.circuit import ParameterVector
from qiskit_aer import AerSimulator
from qiskit_aer.noise import NoiseModel, ReadoutError
from qiskit_ibm_runtime.fake_provider import FakeNairobiV2
from scipy.stats import chi2_contingency, chisquare

from kubeqpu.proto.v1 import gateway_pb2
from kubeqpu.qpu_gateway.errors import CircuitError
from kubeqpu.qpu_gateway.providers.base import Span
from kubeqpu.qpu_gateway.simulation.device import Device
from kubeqpu.qpu_gateway.simulation.fake_backends import load_fake_backend
from kubeqpu.qpu_gateway.simulation.noise import DeviceNoise, clip_coherence
from kubeqpu.qpu_gateway.simulation.noisy import NoisySimulation, physical_gates
from kubeqpu.qpu_gateway.simulation.programs import DistributionProgram, SampledProgram
from kubeqpu.qpu_gateway.simulation.simulators import run_saved
from tests.support.simulation import frequencies, line_device, noisy, run, sampler_spec

LINE = line_device(5)


@pytest.fixture(scope="module")
def nairobi() -> Device:
    return load_fake_backend("FakeNairobiV2")


def line_circuit(qubits: tuple[int, ...], middle: int = 0, width: int = 5) -> QuantumCircuit:
    """A circuit of the line device's own gates, on some of its qubits."""
    angles = ParameterVector("t", 2)
    circuit = QuantumCircuit(width, len(qubits) + middle)
    for qubit in qubits:
        circuit.rz(angles[0] * (qubit + 1), qubit)
        circuit.sx(qubit)
    for low, high in itertools.pairwise(qubits):
        circuit.cz(low, high)
    for event in range(middle):
        if event == 1:
            # Biased, so that its outcome cannot be mistaken for another's.
            circuit.reset(qubits[event])
            circuit.x(qubits[event])
        else:
            circuit.sx(qubits[event])
        circuit.measure(qubits[event], len(qubits) + event)
    for qubit in qubits:
        circuit.sx(qubit)
        circuit.rz(angles[1], qubit)
        circuit.sx(qubit)
    for low, high in itertools.pairwise(qubits):
        circuit.cz(low, high)
    for clbit, qubit in enumerate(qubits):
        circuit.sx(qubit)
        circuit.measure(qubit, clbit)
    return circuit


VALUES = np.array([[0.7, -1.1], [2.0, 0.4]])


def whole_noise(device: Device) -> NoiseModel:
    """The noise of all qubits and gates of a device, readout included."""
    gates = [(item.name, gate.qubits) for item in device.instructions for gate in item.gates]
    return DeviceNoise(device).model(gates, range(device.num_qubits), readout=True)


def exact_distributions(circuit: QuantumCircuit, device: Device, shots: int = 10**6) -> np.ndarray:
    columns = {name: column for column, name in enumerate(circuit.parameters)}
    order = range(device.num_qubits)
    program = NoisySimulation(device, 1).compile_sampler(circuit, columns, shots, order)
    assert isinstance(program, DistributionProgram)
    saved = run_saved(program.backend, program.circuits(VALUES))
    return program.distributions(saved, len(VALUES))


def aer_counts(circuit: QuantumCircuit, noise: NoiseModel, method: str, shots: int) -> np.ndarray:
    backend = AerSimulator(method=method, noise_model=noise, max_parallel_threads=1)
    bound = circuit.assign_parameters(VALUES[0])
    counts = backend.run(bound, shots=shots, seed_simulator=5).result().get_counts()
    found = np.zeros(2**circuit.num_clbits)
    for outcome, count in counts.items():
        found[int(outcome.replace(" ", ""), 2)] = count
    return found


def agrees(seen: np.ndarray, probabilities: np.ndarray) -> bool:
    expected = probabilities * seen.sum()
    common = expected > 5
    joined = np.append(seen[common], seen[~common].sum())
    wanted = np.append(expected[common], expected[~common].sum() + 1e-9)
    return bool(chisquare(joined, wanted, sum_check=False).pvalue > 1e-3)


def test_the_noise_of_a_fake_backend_is_aers(nairobi: Device) -> None:
    theirs = NoiseModel.from_backend(FakeNairobiV2())
    qubits = (1, 3, 5)
    gates = [("sx", (1,)), ("x", (3,)), ("cx", (1, 3)), ("cx", (5, 3)), ("rz", (5,)), ("id", (5,))]
    ours = DeviceNoise(nairobi).model(gates, qubits, readout=False)
    errors = {
        (name, tuple(qubits[q] for q in place)): error
        for name, found in ours._local_quantum_errors.items()
        for place, error in found.items()
    }
    assert set(errors) == {gate for gate in gates if gate[0] != "rz"}
    for (name, place), error in errors.items():
        assert error == theirs._local_quantum_errors[name][place]


def test_readout_errors_of_a_fake_backend_average_to_aers(nairobi: Device) -> None:
    theirs = NoiseModel.from_backend(FakeNairobiV2())._local_readout_errors
    for qubit in range(7):
        matrix = DeviceNoise(nairobi).confusion(qubit)
        assert matrix is not None
        mean = (matrix[0, 1] + matrix[1, 0]) / 2
        assert theirs[(qubit,)] == ReadoutError([[1 - mean, mean], [mean, 1 - mean]])


@pytest.mark.parametrize("qubits", [(0, 1, 2), (2, 3), (3, 2, 1)])
def test_filtered_noise_equals_unfiltered(qubits: tuple[int, ...]) -> None:
    circuit = line_circuit(qubits)
    found = exact_distributions(circuit, LINE)
    bare = circuit.remove_final_measurements(inplace=False)
    bare.save_probabilities(list(qubits), label="p")
    backend = AerSimulator(method="density_matrix", noise_model=whole_noise(LINE))
    for row, values in enumerate(VALUES):
        data = backend.run(bare.assign_parameters(values), shots=1).result().data(0)
        read = data["p"]
        for bit, qubit in enumerate(qubits):
            matrix = DeviceNoise(LINE).confusion(qubit)
            assert matrix is not None
            split = np.reshape(read, (2 ** (len(qubits) - 1 - bit), 2, 2**bit))
            read = np.stack(
                [
                    split[:, 0] * matrix[0, outcome] + split[:, 1] * matrix[1, outcome]
                    for outcome in (0, 1)
                ],
                axis=1,
            ).reshape(-1)
        assert np.abs(found[row] / found[row].sum() - read / np.sum(read)).max() < 1e-7


def test_distributions_with_readout_errors_are_those_aer_samples() -> None:
    circuit = line_circuit((0, 1, 2, 3))
    ours = exact_distributions(circuit, LINE)[0]
    theirs = aer_counts(circuit, whole_noise(LINE), "density_matrix", 40_000)
    assert agrees(theirs, ours)
    # The test can tell: without noise it fails.
    ideal = aer_counts(circuit, NoiseModel(), "statevector", 40_000)
    assert not agrees(ideal, ours)


@pytest.mark.parametrize("middle", [1, 2, 3])
def test_branches_agree_with_aers_measurements_in_the_middle(middle: int) -> None:
    circuit = line_circuit((1, 2, 3), middle)
    ours = exact_distributions(circuit, LINE)[0]
    theirs = aer_counts(circuit, whole_noise(LINE), "statevector", 10_000)
    assert agrees(theirs, ours)
    assert ours.sum() == pytest.approx(1, abs=1e-6)


def test_an_overwritten_measurement_still_collapses() -> None:
    circuit = QuantumCircuit(5, 1)
    circuit.sx(0)
    circuit.measure(0, 0)
    circuit.sx(0)
    circuit.measure(0, 0)
    (chunk,) = run(_noisy_spec(circuit, shots=20_000), [Span(0, 0, 1)], noisy(LINE))
    theirs = aer_counts_plain(circuit, whole_noise(LINE), 20_000)
    ours = frequencies(chunk.counts.rows[0], 1)
    assert chunk.execution.method == "aer-density-matrix"
    assert chi2_contingency([ours, theirs]).pvalue > 1e-3


def test_the_last_measurement_decides_a_classical_bit() -> None:
    circuit = QuantumCircuit(5, 1)
    circuit.measure(0, 0)
    circuit.x(0)
    circuit.measure(0, 0)
    (chunk,) = run(_noisy_spec(circuit, shots=1000), [Span(0, 0, 1)], noisy(LINE))
    assert frequencies(chunk.counts.rows[0], 1)[1] > 800


def test_all_measurements_in_the_middle_and_resets_agree_with_aer() -> None:
    circuit = QuantumCircuit(5, 2)
    circuit.sx(0)
    circuit.measure(0, 1)
    circuit.reset(0)
    circuit.sx(0)
    circuit.measure(0, 0)
    circuit.x(0)
    (chunk,) = run(_noisy_spec(circuit, shots=20_000), [Span(0, 0, 1)], noisy(LINE))
    theirs = aer_counts_plain(circuit, whole_noise(LINE), 20_000)
    assert chunk.execution.method == "aer-density-matrix"
    assert chi2_contingency([frequencies(chunk.counts.rows[0], 2), theirs]).pvalue > 1e-3


def aer_counts_plain(circuit: QuantumCircuit, noise: NoiseModel, shots: int) -> np.ndarray:
    backend = AerSimulator(method="statevector", noise_model=noise, max_parallel_threads=1)
    counts = backend.run(circuit, shots=shots, seed_simulator=2).result().get_counts()
    return np.array(
        [counts.get(format(i, f"0{circuit.num_clbits}b"), 0) for i in range(2**circuit.num_clbits)]
    )


def _noisy_spec(
    circuit: QuantumCircuit, shots: int = 500, values: np.ndarray | None = None
) -> gateway_pb2.JobSpec:
    return sampler_spec(circuit, values, shots=[shots])


def test_delays_relax() -> None:
    waiting = QuantumCircuit(5, 1)
    waiting.x(0)
    waiting.delay(100_000, 0)
    waiting.measure(0, 0)
    (chunk,) = run(_noisy_spec(waiting, 20_000), [Span(0, 0, 1)], noisy(LINE))
    qubit = LINE.qubits[0]
    assert qubit.t1 is not None
    survived = np.exp(-100e-6 / qubit.t1)
    ones = survived * (1 - qubit.prob_meas0_prep1) + (1 - survived) * qubit.prob_meas1_prep0
    assert frequencies(chunk.counts.rows[0], 1)[1] / 20_000 == pytest.approx(ones, abs=0.015)


def test_trajectories_agree_with_the_density_matrix() -> None:
    circuit = line_circuit((0, 1, 2, 3, 4))
    ours = exact_distributions(circuit, LINE)[0]
    columns = {name: column for column, name in enumerate(circuit.parameters)}
    few_shots = NoisySimulation(LINE, 1).compile_sampler(circuit, columns, 1, range(5))
    assert isinstance(few_shots, SampledProgram)
    (histogram,) = few_shots.histograms([], VALUES[:1], [20_000], [np.random.default_rng(4)])
    seen = np.zeros(32)
    seen[histogram.outcomes[:, 0]] = histogram.counts
    assert agrees(seen, ours)


def test_wide_circuits_run_as_matrix_product_trajectories_that_agree() -> None:
    device = line_device(14, seed=3)
    circuit = line_circuit(tuple(range(14)), width=14)
    spec = _noisy_spec(circuit, 500, VALUES[:1])
    (chunk,) = run(spec, [Span(0, 0, 1)], noisy(device))
    assert chunk.execution.method == "aer-matrix-product-state-trajectories"
    theirs = aer_counts(circuit, whole_noise(clip_coherence(device)), "statevector", 500)
    ours = frequencies(chunk.counts.rows[0], 14)
    weights = np.array([bin(outcome).count("1") for outcome in range(2**14)])
    tables = [np.bincount(weights, found, minlength=15) + 1 for found in (ours, theirs)]
    assert chi2_contingency(tables).pvalue > 1e-3


def test_clipped_coherence_leaves_no_state_dependent_noise() -> None:
    device = clip_coherence(LINE)
    gates = physical_gates(line_circuit(tuple(range(5))))
    model = DeviceNoise(device).model(gates, range(5), readout=False)
    names = {
        instruction.operation.name
        for found in model._local_quantum_errors.values()
        for error in found.values()
        for circuit in error.circuits
        for instruction in circuit.data
    }
    assert "reset" in names
    assert "kraus" not in names


@settings(max_examples=6, deadline=None)
@given(points=st.sets(st.integers(1, 5)), middle=st.integers(0, 2))
def test_noisy_samples_do_not_depend_on_the_batches(points: set[int], middle: int) -> None:
    values = np.random.default_rng(8).uniform(-3, 3, (6, 2))
    spec = _noisy_spec(line_circuit((1, 2, 3), middle), 300, values)
    edges = [0, *sorted(points), 6]
    spans = [Span(0, first, end - first) for first, end in itertools.pairwise(edges)]
    one = [row for c in run(spec, [Span(0, 0, 6)], noisy(LINE)) for row in c.counts.rows]
    many = [row for s in spans for c in run(spec, [s], noisy(LINE)) for row in c.counts.rows]
    assert one == many


def test_exact_values_are_refused() -> None:
    estimator = gateway_pb2.EstimatorSpec(exact=True)
    entry = estimator.entries.add(template=0)
    entry.parameters.rows = 1
    entry.observables.add().terms.add(pauli="IIIIZ", coefficient=1)
    spec = _noisy_spec(QuantumCircuit(5, 1))
    spec.estimator.CopyFrom(estimator)
    with pytest.raises(CircuitError, match="is noisy"):
        run(spec, [Span(0, 0, 1)], noisy(LINE))
