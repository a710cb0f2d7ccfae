"""What the gateway knows of a circuit without loading Qiskit: plain data from an inspection."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class CircuitSummary:
    """One template of a job, as the inspecting worker describes it.

    Attributes:
        num_qubits: Width.
        registers: Classical registers in order, as (name, bits).
        num_parameters: Length of `QuantumCircuit.parameters`.
        operations: How often each operation occurs, by Qiskit's name, after nested definitions of
            the circuit's own gates were resolved to known ones.
        mid_circuit: Whether an operation follows a measurement or reset on the same qubit.
        control_flow: Whether it contains conditions or loops.
        measured_clbits: Classical bits that a measurement writes.
    """

    num_qubits: int
    registers: tuple[tuple[str, int], ...]
    num_parameters: int
    operations: Mapping[str, int]
    mid_circuit: bool
    control_flow: bool
    measured_clbits: int

    @property
    def num_clbits(self) -> int:
        """Width of all classical registers together."""
        return sum(bits for _, bits in self.registers)
