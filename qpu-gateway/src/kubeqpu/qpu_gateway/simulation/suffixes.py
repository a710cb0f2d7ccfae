"""Rotations and measurements that turn an observable's eigenbasis into outcomes."""

from math import pi

from qiskit import ClassicalRegister, QuantumCircuit

from kubeqpu.qpu_gateway.errors import CircuitError
from kubeqpu.qpu_gateway.simulation.measurements import (
    UNOBSERVED_REGISTER,
    has_control_flow,
    plan_measurements,
)


def basis_suffix(num_qubits: int, bases: dict[int, str]) -> QuantumCircuit:
    """Measures qubits in Pauli bases.

    X is turned into Z by RZ(π/2) and √X, Y by √X alone: e^{iπX/4} Z e^{-iπX/4} = Y, and Y becomes X
    under RZ(π/2). Both gates are native to the QPUs at hand.

    Args:
        num_qubits: Width of the circuit to append to.
        bases: Qubit → "X", "Y" or "Z"; by ascending qubit they fill the classical bits.
    """
    suffix = QuantumCircuit(num_qubits, len(bases))
    for clbit, (qubit, basis) in enumerate(sorted(bases.items())):
        if basis == "X":
            suffix.rz(pi / 2, qubit)
        if basis in "XY":
            suffix.sx(qubit)
        suffix.measure(qubit, clbit)
    return suffix


def append_suffix(circuit: QuantumCircuit, suffix: QuantumCircuit) -> QuantumCircuit:
    """Appends a suffix whose classical bits alone are the result.

    The circuit's own final measurements go; its measurements in the middle stay, unobserved.

    Raises:
        CircuitError: If the circuit has control flow, which needs its own classical bits.
    """
    bare = drop_final_measurements(circuit)
    result = QuantumCircuit(circuit.num_qubits, global_phase=circuit.global_phase)
    result.add_register(ClassicalRegister(suffix.num_clbits, "observable"))
    result.add_register(ClassicalRegister(circuit.num_clbits, UNOBSERVED_REGISTER))
    scratch = result.clbits[suffix.num_clbits :]
    result.compose(bare, result.qubits, scratch, inplace=True)
    result.compose(suffix, result.qubits, result.clbits[: suffix.num_clbits], inplace=True)
    return result


def drop_final_measurements(circuit: QuantumCircuit) -> QuantumCircuit:
    """Removes measurements after which their qubits are not used.

    Raises:
        CircuitError: If the circuit has control flow.
    """
    if has_control_flow(circuit):
        raise CircuitError(
            f"Circuit {circuit.name!r} has control flow, which expectation values do not support; "
            "sample it instead."
        )
    final = plan_measurements(circuit).final_positions
    if not final:
        return circuit
    result = circuit.copy_empty_like()
    for position, instruction in enumerate(circuit.data):
        if position not in final:
            result._append(instruction)
    return result
