"""Rewrites a circuit so that it can be cut cheaply.

Gates that cannot affect an observable go; runs of gates on one pair of qubits become one gate, an
rzz where that is possible. A Trotter step written with two cx per bond then has one gate per bond,
with κ = 1 + 2|sin θ| instead of 3² for the two.
"""

from collections.abc import Iterable

import numpy as np
from qiskit.circuit import Barrier, Operation, QuantumCircuit
from qiskit.circuit.library import UnitaryGate
from qiskit.synthesis import TwoQubitWeylDecomposition
from qiskit.transpiler import PassManager
from qiskit.transpiler.passes import (
    Collect2qBlocks,
    ConsolidateBlocks,
    Optimize1qGatesDecomposition,
)

from kubeqpu.cutting.inputs import CUT_GATE, CUT_WIRE
from kubeqpu.cutting.maps import ComplexMatrix, u_angles

_HADAMARD = np.array([[1, 1], [1, -1]], dtype=complex) / np.sqrt(2)
_NEGLIGIBLE = 1e-10


def keep_light_cone(circuit: QuantumCircuit, terms: Iterable[str]) -> QuantumCircuit:
    """Drops the gates that no observable depends on.

    Args:
        circuit: One- and two-qubit gates.
        terms: Pauli labels, rightmost character on qubit 0.
    """
    active = {qubit for term in terms for qubit, pauli in enumerate(reversed(term)) if pauli != "I"}
    kept = []
    for instruction in reversed(circuit.data):
        qubits = {circuit.find_bit(qubit).index for qubit in instruction.qubits}
        if qubits & active:
            active |= qubits
            kept.append(instruction)
    result = circuit.copy_empty_like()
    for instruction in reversed(kept):
        result.append(instruction)
    return result


def recollect(circuit: QuantumCircuit) -> QuantumCircuit:
    """Merges runs of gates on a pair of qubits into one gate each.

    Args:
        circuit: One- and two-qubit gates, and markers of cuts, which no gate is moved across.

    Returns:
        The same unitary in `u`, `rzz` and, where a run is no rotation about one axis, two-qubit
        `unitary` gates.
    """
    shielded, markers = _shield(circuit)
    collected = PassManager([Collect2qBlocks(), ConsolidateBlocks(force_consolidate=True)]).run(
        shielded
    )
    result = circuit.copy_empty_like()
    for instruction in collected.data:
        operation = instruction.operation
        qubits = [collected.find_bit(qubit).index for qubit in instruction.qubits]
        if operation.name == "unitary" and len(qubits) == 2:
            _append_pair(result, operation.to_matrix(), qubits)
        else:
            result.append(operation, qubits)
    optimised = PassManager([Optimize1qGatesDecomposition(basis=["u"])]).run(result)
    final = circuit.copy_empty_like()
    for instruction in optimised.data:
        operation = instruction.operation
        if operation.name == "barrier":
            operation = markers[int(operation.label)]
        final.append(operation, [optimised.find_bit(qubit).index for qubit in instruction.qubits])
    return final


def _shield(circuit: QuantumCircuit) -> tuple[QuantumCircuit, list[Operation]]:
    """Puts barriers in the place of markers, which Qiskit's passes would drop or move."""
    result = circuit.copy_empty_like()
    markers: list[Operation] = []
    for instruction in circuit.data:
        operation = instruction.operation
        if operation.name in (CUT_WIRE, CUT_GATE):
            barrier = Barrier(operation.num_qubits, label=str(len(markers)))
            markers.append(operation)
            operation = barrier
        result.append(operation, instruction.qubits)
    return result, markers


def _append_pair(circuit: QuantumCircuit, matrix: ComplexMatrix, qubits: list[int]) -> None:
    """Appends a two-qubit unitary, as an rzz between one-qubit gates where possible."""
    weyl = TwoQubitWeylDecomposition(matrix, fidelity=None)
    low, high = qubits
    if max(abs(weyl.b), abs(weyl.c)) > _NEGLIGIBLE:
        circuit.append(UnitaryGate(matrix), qubits)
        return
    # exp(i a XX) = (H ⊗ H) rzz(−2a) (H ⊗ H); K·r acts on the first qubit, K·l on the second.
    if abs(weyl.a) < _NEGLIGIBLE:
        circuit.u(*u_angles(weyl.K1r @ weyl.K2r), low)
        circuit.u(*u_angles(weyl.K1l @ weyl.K2l), high)
        return
    circuit.u(*u_angles(_HADAMARD @ weyl.K2r), low)
    circuit.u(*u_angles(_HADAMARD @ weyl.K2l), high)
    circuit.rzz(round(-2.0 * weyl.a, 13), low, high)
    circuit.u(*u_angles(weyl.K1r @ _HADAMARD), low)
    circuit.u(*u_angles(weyl.K1l @ _HADAMARD), high)
