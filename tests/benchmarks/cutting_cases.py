"""Circuits, cuts and observables that the cutting benchmark runs."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
from qiskit.circuit import QuantumCircuit
from qiskit.circuit.library import efficient_su2
from qiskit.quantum_info import Pauli, Statevector
from qiskit_addon_cutting.instructions import CutWire

SHOTS = 1024
SEED = 7


@dataclass(frozen=True)
class Case:
    """One circuit with its cuts.

    Attributes:
        circuit: The uncut circuit.
        marked: The circuit with `CutWire` markers, or the uncut one.
        labels: Partition labels of gate cuts, or None.
        observables: Pauli labels.
        baseline: Whether the addon, as documented, can finish it.
    """

    circuit: QuantumCircuit
    marked: QuantumCircuit
    labels: str | None
    observables: tuple[str, ...]
    baseline: bool

    def exact_values(self) -> npt.NDArray[np.float64]:
        """Expectation values of the uncut circuit."""
        state = Statevector(self.circuit)
        values = [state.expectation_value(Pauli(label)).real for label in self.observables]
        return np.array(values)


def make_observables(width: int) -> tuple[str, ...]:
    """ZZ on neighbours, X on each qubit, Z on all: two commuting groups."""
    neighbours = ["I" * (width - 2 - q) + "ZZ" + "I" * q for q in range(width - 1)]
    flips = ["I" * (width - 1 - q) + "X" + "I" * q for q in range(width)]
    return (*neighbours, *flips, "Z" * width)


def gate_case(width: int, layers: int, parts: int, baseline: bool = True) -> Case:
    """An ansatz whose CX layers cross each boundary once, cut at the CX gates."""
    ansatz = efficient_su2(width, reps=layers, entanglement="linear")
    angles = np.random.default_rng(SEED).uniform(-np.pi, np.pi, ansatz.num_parameters)
    circuit = ansatz.assign_parameters(angles).decompose()
    labels = "".join("ABCDEFGH"[qubit * parts // width] for qubit in range(width))
    return Case(circuit, circuit, labels, make_observables(width), baseline)


def wire_case(width: int, cuts: int, baseline: bool = True) -> Case:
    """A chain of random two-qubit blocks, cut at wires."""
    rng = np.random.default_rng(SEED)
    joints = {round((index + 1) * (width - 1) / (cuts + 1)) for index in range(cuts)}
    plain, marked = QuantumCircuit(width), QuantumCircuit(width)
    for qubit in range(width - 1):
        if qubit in joints:
            marked.append(CutWire(), [qubit])
        for _ in range(2):
            for wire in (qubit, qubit + 1):
                angles = rng.uniform(-np.pi, np.pi, 2)
                for circuit in (plain, marked):
                    circuit.ry(angles[0], wire)
                    circuit.rz(angles[1], wire)
            for circuit in (plain, marked):
                circuit.cx(qubit, qubit + 1)
    return Case(plain, marked, None, make_observables(width), baseline)


CASES: dict[str, Callable[[], Case]] = {
    "gate_10q_1_cut": partial(gate_case, 10, 1, 2),
    "gate_10q_2_cuts": partial(gate_case, 10, 2, 2),
    "gate_10q_3_cuts": partial(gate_case, 10, 3, 2),
    "gate_12q_2_cuts": partial(gate_case, 12, 1, 3),
    "wire_10q_1_cut": partial(wire_case, 10, 1),
    "wire_10q_2_cuts": partial(wire_case, 10, 2),
    "wire_12q_3_cuts": partial(wire_case, 12, 3),
    "wire_12q_4_cuts": partial(wire_case, 12, 4, False),
    "gate_12q_4_cuts": partial(gate_case, 12, 1, 5, False),
    "gate_10q_4_cuts": partial(gate_case, 10, 4, 2, False),
}
