"""An executor in this process: exact probabilities by a batched state vector, samples by numpy."""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
from qiskit.circuit import Gate, Parameter, QuantumCircuit
from qiskit.circuit.library import RZGate, UGate
from qiskit.quantum_info import Pauli

from kubeqpu.cutting.executors import (
    EstimatorAnswer,
    EstimatorTask,
    ExecutionRecord,
    SamplerAnswer,
    SamplerEntry,
    SamplerTask,
    Site,
)
from kubeqpu.cutting.fragments import load_circuits
from kubeqpu.cutting.histograms import Histogram, ReadoutError
from kubeqpu.cutting.plans import Plan

Array = npt.NDArray[np.complex128]
ROTATIONS: dict[str, Callable[..., Gate]] = {"u": UGate, "rz": RZGate}


def simulate(circuit: QuantumCircuit, parameters: npt.NDArray[np.float64]) -> Array:
    """Returns the states of all rows before measurement, shape (rows, 2 ** qubits)."""
    rows, width = len(parameters), circuit.num_qubits
    state = np.zeros((rows, *[2] * width), dtype=complex)
    state.reshape(rows, -1)[:, 0] = 1.0
    columns = {parameter: index for index, parameter in enumerate(circuit.parameters)}
    for item in circuit.data:
        if item.operation.name == "measure":
            continue
        # Axis of qubit q: the last axis is qubit 0.
        axes = [width - circuit.find_bit(qubit).index for qubit in reversed(item.qubits)]
        if any(isinstance(value, Parameter) for value in item.operation.params):
            matrices = np.array(
                [
                    ROTATIONS[item.operation.name](
                        *[
                            row[columns[value]] if isinstance(value, Parameter) else value
                            for value in item.operation.params
                        ]
                    ).to_matrix()
                    for row in parameters
                ]
            )
        else:
            matrices = np.broadcast_to(
                item.operation.to_matrix(), (rows, 2 ** len(axes), 2 ** len(axes))
            )
        moved = np.moveaxis(state, axes, range(1, 1 + len(axes)))
        shape = moved.shape
        moved = matrices @ moved.reshape(rows, 2 ** len(axes), -1)
        state = np.moveaxis(moved.reshape(shape), range(1, 1 + len(axes)), axes)
    return state.reshape(rows, -1)


class StateVectorExecutor:
    """Runs deferred templates exactly, or draws from their exact probabilities."""

    def __init__(self, readout: ReadoutError | None = None) -> None:
        self.readout = readout
        self.tasks: list[SamplerTask] = []
        self._known: dict[tuple[bytes, int, bytes], npt.NDArray[np.float64]] = {}

    def choose_sites(self, plan: Plan, exact: bool) -> tuple[Site, ...]:
        return tuple(Site("in-process", deferred=True) for _ in plan.fragments)

    def sample(self, tasks: Sequence[SamplerTask]) -> list[SamplerAnswer]:
        return [self._sample(task) for task in tasks]

    def _sample(self, task: SamplerTask) -> SamplerAnswer:
        self.tasks.append(task)
        circuits = load_circuits(task.circuits)
        generator = np.random.default_rng(task.seed)
        histograms = []
        for entry in task.entries:
            circuit = circuits[entry.template]
            probabilities = self._probabilities(task.circuits, circuit, entry)
            counts = generator.multinomial(entry.shots, probabilities)
            rows, outcomes = np.nonzero(counts)
            histograms.append(
                Histogram(rows, outcomes.astype(np.uint64)[:, None], counts[rows, outcomes])
            )
        readout: tuple[tuple[ReadoutError, ...], ...] = ()
        if task.with_readout and self.readout is not None:
            readout = tuple(
                (self.readout,) * circuits[entry.template].num_clbits for entry in task.entries
            )
        return SamplerAnswer(tuple(histograms), (ExecutionRecord("in-process"),), readout)

    def _probabilities(
        self, key: bytes, circuit: QuantumCircuit, entry: SamplerEntry
    ) -> npt.NDArray[np.float64]:
        known = (key, entry.template, entry.parameters.tobytes())
        if known in self._known:
            return self._known[known]
        full = np.abs(simulate(circuit, entry.parameters)) ** 2
        width = circuit.num_qubits
        bits = {
            circuit.find_bit(item.clbits[0]).index: circuit.find_bit(item.qubits[0]).index
            for item in circuit.data
            if item.operation.name == "measure"
        }
        axes = [1 + width - 1 - bits[bit] for bit in reversed(range(circuit.num_clbits))]
        joint = full.reshape(-1, *[2] * width)
        rest = tuple(axis for axis in range(1, width + 1) if axis not in axes)
        order = [0] + [1 + sorted(axes).index(axis) for axis in axes]
        result = joint.sum(axis=rest).transpose(order).reshape(len(full), -1)
        if self.readout is not None:
            a, b = self.readout.prob_meas1_prep0, self.readout.prob_meas0_prep1
            confusion = np.ones((1, 1))
            for _ in axes:
                confusion = np.kron(confusion, np.array([[1 - a, b], [a, 1 - b]]))
            result = result @ confusion.T
        self._known[known] = result / result.sum(axis=1, keepdims=True)
        return self._known[known]

    def evaluate(self, tasks: Sequence[EstimatorTask]) -> list[EstimatorAnswer]:
        answers = []
        for task in tasks:
            circuits = load_circuits(task.circuits)
            values = []
            for entry in task.entries:
                states = simulate(circuits[entry.template], entry.parameters)
                values.append(np.array([_expect(states, label) for label in entry.observables]).T)
            answers.append(EstimatorAnswer(tuple(values), (ExecutionRecord("in-process"),)))
        return answers


def _expect(states: Array, label: str) -> npt.NDArray[np.float64]:
    image = states @ Pauli(label).to_matrix(sparse=True).T
    return np.asarray(np.einsum("rx,rx->r", states.conj(), image).real)
