"""Leaving out the qubits that a circuit does not use."""

from qiskit import QuantumCircuit

_IDLE = frozenset({"barrier", "delay"})


def used_qubits(circuit: QuantumCircuit) -> tuple[int, ...]:
    """Lists the qubits on which something happens, ascending."""
    bits = {
        bit
        for instruction in circuit.data
        if instruction.name not in _IDLE
        for bit in instruction.qubits
    }
    return tuple(index for index, bit in enumerate(circuit.qubits) if bit in bits)


def compact(circuit: QuantumCircuit, qubits: tuple[int, ...]) -> QuantumCircuit:
    """Rebuilds a circuit on some of its qubits, where barriers are dropped.

    Args:
        circuit: Any circuit.
        qubits: The qubits to keep; nothing but barriers and delays may act on others.

    Returns:
        A circuit on `len(qubits)` qubits; qubit i is the original's `qubits[i]`.
    """
    if qubits == tuple(range(circuit.num_qubits)):
        return circuit
    result = QuantumCircuit(len(qubits), global_phase=circuit.global_phase)
    for register in circuit.cregs:
        result.add_register(register)
    place = {circuit.qubits[old]: result.qubits[new] for new, old in enumerate(qubits)}
    for instruction in circuit.data:
        if instruction.name == "barrier":
            continue
        if all(bit in place for bit in instruction.qubits):
            moved = [place[bit] for bit in instruction.qubits]
            result._append(instruction.replace(qubits=moved))
    return result
