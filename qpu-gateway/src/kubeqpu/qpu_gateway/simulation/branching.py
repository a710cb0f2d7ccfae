"""Measurements in the middle of a noisy circuit, exactly, without ancillas.

A density matrix that is projected and not normalised carries the probability of the outcome. So one
run per joint outcome of the k measurements in the middle gives all joint probabilities: 2^k runs of
4^n amplitudes, where k ancillas would need 4^(n + k). The readout error of a measurement in the
middle, like any other, acts on what is read alone.
"""

import itertools
from collections.abc import Iterator

import numpy as np
from qiskit import QuantumCircuit
from qiskit.circuit import Instruction

from kubeqpu.qpu_gateway.simulation.measurements import MeasurementPlan, MiddleMeasurement

# As channels on vectorised density matrices: projections onto |0⟩ and |1⟩, and their sum, which is
# what a measurement does that nobody reads.
_PROJECTIONS = (
    np.diag(np.array([1, 0, 0, 0], dtype=complex)),
    np.diag(np.array([0, 0, 0, 1], dtype=complex)),
)
_DEPHASING = _PROJECTIONS[0] + _PROJECTIONS[1]


def observed_middle(plan: MeasurementPlan) -> list[MiddleMeasurement]:
    """Lists the measurements in the middle whose outcome is part of the result."""
    return [event for event in plan.middle if event.clbit is not None]


def branch_circuits(circuit: QuantumCircuit, plan: MeasurementPlan) -> Iterator[QuantumCircuit]:
    """Builds the circuit of each joint outcome, without its final measurements.

    Yields:
        2^k circuits; bit j of their index is the outcome of the j-th of `observed_middle`.
    """
    middle = {event.position: event for event in plan.middle}
    order = [event.position for event in observed_middle(plan)]
    for outcome in itertools.product((0, 1), repeat=len(order)):
        # The last factor of a product varies fastest and is the first measurement.
        chosen = dict(zip(order, reversed(outcome), strict=True))
        branch = QuantumCircuit(circuit.num_qubits, global_phase=circuit.global_phase)
        index = {bit: position for position, bit in enumerate(circuit.qubits)}
        for position, instruction in enumerate(circuit.data):
            if position in plan.final_positions or instruction.name == "barrier":
                continue
            qubits = [branch.qubits[index[bit]] for bit in instruction.qubits]
            if position in middle:
                matrix = _PROJECTIONS[chosen[position]] if position in chosen else _DEPHASING
                branch.append(Instruction("superop", 1, 0, [matrix]), qubits)
            else:
                branch._append(instruction.replace(qubits=qubits, clbits=()))
        yield branch
