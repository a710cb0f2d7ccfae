"""Exact outcome distributions of circuits that qiskit-addon-cutting generates."""

import numpy as np
import numpy.typing as npt
from qiskit.circuit import QuantumCircuit

Array = npt.NDArray[np.float64]
States = npt.NDArray[np.complex128]


def find_distribution(circuit: QuantumCircuit) -> Array:
    """Exact probabilities of a subexperiment, following both outcomes of every measurement.

    Returns:
        Over the bits of "observable_measurements", shifted up by one; bit 0 is the parity of
        "qpd_measurements".
    """
    bits = {}
    for register in circuit.cregs:
        for index, bit in enumerate(register):
            bits[bit] = 1 << index + 1 if register.name == "observable_measurements" else 1
    ground = np.zeros([2] * circuit.num_qubits, dtype=complex)
    ground.flat[0] = 1.0
    branches = [(ground, 0)]
    for item in circuit.data:
        axes = [circuit.num_qubits - 1 - circuit.find_bit(qubit).index for qubit in item.qubits]
        if item.operation.name in ("measure", "reset"):
            flip = bits[item.clbits[0]] if item.operation.name == "measure" else 0
            branches = [
                found
                for state, outcome in branches
                for found in _branch(state, outcome, axes[0], flip, item.operation.name == "reset")
            ]
        elif item.operation.name != "barrier":
            matrix = item.operation.to_matrix()
            branches = [(_apply(state, matrix, axes[::-1]), outcome) for state, outcome in branches]
    probabilities = np.zeros(2 ** (circuit.num_qubits + 1))
    for state, outcome in branches:
        probabilities[outcome] += np.vdot(state, state).real
    return np.asarray(probabilities / probabilities.sum())


def _branch(
    state: States, outcome: int, axis: int, flip: int, reset: bool
) -> list[tuple[States, int]]:
    found = []
    for value in (0, 1):
        part = np.zeros_like(state)
        source = [slice(None)] * state.ndim
        source[axis] = slice(value, value + 1)
        target = list(source)
        if reset:
            target[axis] = slice(0, 1)
        part[tuple(target)] = state[tuple(source)]
        if np.vdot(part, part).real > 1e-14:
            found.append((part, outcome ^ flip if value else outcome))
    return found


def _apply(state: States, matrix: States, axes: list[int]) -> States:
    count = len(axes)
    moved = np.moveaxis(state, axes, range(count))
    shape = moved.shape
    result = (matrix @ moved.reshape(2**count, -1)).reshape(shape)
    return np.moveaxis(result, range(count), axes)
