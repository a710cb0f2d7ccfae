"""Which measurements end a circuit and which lie in the middle of it."""

from dataclasses import dataclass

from qiskit import QuantumCircuit
from qiskit.circuit import Clbit

_IDLE = frozenset({"barrier", "delay"})
# Bits of a register of this name are no part of the result; measuring into them still collapses.
UNOBSERVED_REGISTER = "kubeqpu_unobserved"


@dataclass(frozen=True)
class MiddleMeasurement:
    """A measurement whose qubit is used again.

    Attributes:
        position: Index of the instruction.
        qubit: Index of the qubit.
        clbit: The classical bit whose final value it decides, or None if that is overwritten or not
            observed.
        then_reset: Index of the reset that is the next operation on the qubit, or None.
    """

    position: int
    qubit: int
    clbit: int | None
    then_reset: int | None


@dataclass(frozen=True)
class MeasurementPlan:
    """How a circuit without control flow measures.

    Attributes:
        final: Classical bit → qubit, of measurements after which the qubit is not used.
        final_positions: Indices of all instructions that measure an unused-afterwards qubit.
        middle: The other measurements, in order.
        resets: Indices of resets of qubits that had been used before.
        idle_resets: Indices of resets of qubits that had not.
    """

    final: dict[int, int]
    final_positions: frozenset[int]
    middle: tuple[MiddleMeasurement, ...]
    resets: tuple[int, ...]
    idle_resets: frozenset[int]

    @property
    def clbits(self) -> tuple[int, ...]:
        """Measured classical bits, ascending."""
        middle = {event.clbit for event in self.middle if event.clbit is not None}
        return tuple(sorted(middle | self.final.keys()))


def clbit_indices(circuit: QuantumCircuit) -> dict[Clbit, int]:
    """Numbers classical bits by register, which is the order results are given in."""
    bits = [bit for register in circuit.cregs for bit in register]
    return {bit: index for index, bit in enumerate(bits)}


def has_control_flow(circuit: QuantumCircuit) -> bool:
    """Tells whether a circuit holds conditions or loops."""
    return bool(circuit.has_control_flow_op())


def plan_measurements(circuit: QuantumCircuit) -> MeasurementPlan:
    """Sorts the measurements and resets of a circuit without control flow."""
    qubit_index = {bit: index for index, bit in enumerate(circuit.qubits)}
    clbit_index = clbit_indices(circuit)
    next_use: dict[int, tuple[int, str]] = {}
    decided = {
        clbit_index[bit]
        for register in circuit.cregs
        if register.name == UNOBSERVED_REGISTER
        for bit in register
    }
    final: dict[int, int] = {}
    final_positions: set[int] = set()
    middle: list[MiddleMeasurement] = []
    touched_at: dict[int, int] = {}
    resets: list[tuple[int, int]] = []
    # Backwards, so that what follows on each qubit and classical bit is known.
    for position, instruction in reversed(list(enumerate(circuit.data))):
        name = instruction.name
        if name in _IDLE:
            continue
        qubits = [qubit_index[bit] for bit in instruction.qubits]
        if name == "measure":
            (qubit,), clbit = qubits, clbit_index[instruction.clbits[0]]
            decides = clbit not in decided
            decided.add(clbit)
            if qubit in next_use:
                then, what = next_use[qubit]
                event = MiddleMeasurement(
                    position, qubit, clbit if decides else None, then if what == "reset" else None
                )
                middle.append(event)
            else:
                final_positions.add(position)
                if decides:
                    final[clbit] = qubit
        elif name == "reset":
            resets.append((position, qubits[0]))
        for qubit in qubits:
            next_use[qubit] = (position, name)
            touched_at[qubit] = position
    # A qubit's first operation is what the backward walk met last.
    idle = frozenset(position for position, qubit in resets if touched_at[qubit] == position)
    used = tuple(sorted(position for position, _ in resets if position not in idle))
    return MeasurementPlan(final, frozenset(final_positions), tuple(reversed(middle)), used, idle)
