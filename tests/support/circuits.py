"""Circuits that several tests run."""

from qiskit import QuantumCircuit
from qiskit.circuit import Parameter


def ansatz() -> QuantumCircuit:
    """Three entangled qubits with two parameters, whose names sort against their order."""
    circuit = QuantumCircuit(3)
    first, second = Parameter("b"), Parameter("a")
    circuit.ry(first, 0)
    circuit.rx(second, 1)
    circuit.crz(first + second, 0, 1)
    circuit.cx(1, 2)
    circuit.h(0)
    return circuit
