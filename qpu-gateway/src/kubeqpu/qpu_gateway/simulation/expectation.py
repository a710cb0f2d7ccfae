"""Exact expectation values from a statevector, or from a matrix product state when wide."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from qiskit.quantum_info import SparsePauliOp
from qiskit_aer import AerSimulator

from kubeqpu.proto.v1 import gateway_pb2
from kubeqpu.qpu_gateway.simulation.simulators import BoundCircuit


@dataclass(frozen=True)
class ExpectationProgram:
    """A template that saves the expectation values of its observables.

    Attributes:
        backend: Aer, configured.
        method: What computes it.
        cost: Rough number of complex amplitudes that one row touches.
        circuit: With its save instructions.
        columns: Column of each parameter.
        observables: How many it saves.
    """

    backend: AerSimulator
    method: str
    cost: int
    circuit: QuantumCircuit
    columns: Mapping[Parameter, int]
    observables: int

    def circuits(self, values: NDArray[np.float64]) -> list[BoundCircuit]:
        """The one circuit."""
        return [BoundCircuit(self.circuit, self.columns, values)]

    def expectation_values(self, saved: list[list[dict[str, object]]]) -> NDArray[np.float64]:
        """Reads the values; of shape (rows, observables)."""
        labels = [_label(index) for index in range(self.observables)]
        (rows,) = saved
        return np.array([[row[label] for label in labels] for row in rows], dtype=np.float64)


def save_expectation_values(
    circuit: QuantumCircuit, observables: Sequence[gateway_pb2.Observable], wires: Sequence[int]
) -> None:
    """Makes a circuit save expectation values.

    Args:
        circuit: To which the save instructions are appended.
        observables: Over the template's qubits.
        wires: Qubit of `circuit` on which each of the template's qubits ends, or -1 for one that
            the circuit leaves out because it stays in |0⟩.
    """
    kept = [wire for wire in wires if wire >= 0]
    for index, observable in enumerate(observables):
        terms = [_on_wires(term, wires) for term in observable.terms]
        operator = SparsePauliOp.from_list(
            [(label, weight) for label, weight in terms if weight != 0.0] or [("I" * len(kept), 0)],
            num_qubits=len(kept),
        ).simplify(atol=0.0)
        circuit.save_expectation_value(operator, kept, label=_label(index))


def _on_wires(term: gateway_pb2.PauliTerm, wires: Sequence[int]) -> tuple[str, float]:
    """Restricts a term to the qubits kept: on |0⟩, ⟨Z⟩ = 1 and ⟨X⟩ = ⟨Y⟩ = 0."""
    letters = term.pauli[::-1]
    weight = term.coefficient
    for letter, wire in zip(letters, wires, strict=True):
        if wire < 0 and letter in "XY":
            weight = 0.0
    kept = [letter for letter, wire in zip(letters, wires, strict=True) if wire >= 0]
    return "".join(kept)[::-1], weight


def _label(index: int) -> str:
    return f"observable {index}"
