"""Rewriting of circuits into operations of known kinds."""

from collections.abc import Callable

from qiskit import QuantumCircuit
from qiskit.circuit import CircuitInstruction, Instruction, Operation

from kubeqpu.qpu_gateway.errors import CircuitError
from kubeqpu.qpu_gateway.simulation.kinds import (
    AER_MISBINDS,
    AER_OPERATIONS,
    is_control_flow,
    is_known,
)


def resolve(circuit: QuantumCircuit, max_operations: int) -> QuantumCircuit:
    """Replaces a circuit's own gates by their definitions, down to known kinds.

    Args:
        circuit: Any circuit.
        max_operations: Most operations that the result may have.

    Raises:
        CircuitError: If a gate is unknown and has no definition, or there are too many operations.
    """
    return _Rewriter(is_known, max_operations).rewrite(circuit)


def lower_for_aer(circuit: QuantumCircuit, max_operations: int) -> QuantumCircuit:
    """Replaces the gates that Aer does not simulate natively by their definitions.

    Raises:
        CircuitError: If a gate has no definition, or there are too many operations.
    """
    return _Rewriter(_is_native, max_operations).rewrite(circuit)


def _is_native(instruction: CircuitInstruction) -> bool:
    if instruction.name in AER_MISBINDS and instruction.is_parameterized():
        return False
    return instruction.name in AER_OPERATIONS


class _Rewriter:
    """Rewrites one circuit and counts what it writes."""

    def __init__(self, is_leaf: Callable[[CircuitInstruction], bool], max_operations: int) -> None:
        self._is_leaf = is_leaf
        self._max_operations = max_operations
        self._written = 0

    def rewrite(self, circuit: QuantumCircuit) -> QuantumCircuit:
        try:
            return self._block(circuit)
        except RecursionError as error:
            raise CircuitError(
                f"Circuit {circuit.name!r} nests definitions too deeply; decompose it."
            ) from error

    def _block(self, circuit: QuantumCircuit) -> QuantumCircuit:
        if all(map(self._is_leaf, circuit.data)):
            self._count(len(circuit.data))
            return circuit
        result = circuit.copy_empty_like()
        for instruction in circuit.data:
            self._append(result, instruction)
        return result

    def _append(self, result: QuantumCircuit, instruction: CircuitInstruction) -> None:
        if self._is_leaf(instruction):
            self._count(1)
            result._append(instruction)  # bits are the result's own: nothing to check again
            return
        operation = instruction.operation
        if is_control_flow(operation):
            self._count(1)
            blocks = [self._block(block) for block in operation.blocks]
            result.append(operation.replace_blocks(blocks), instruction.qubits, instruction.clbits)
            return
        definition = _definition(operation)
        if definition.global_phase != 0:
            result.global_phase += definition.global_phase
        qubits = dict(zip(definition.qubits, instruction.qubits, strict=True))
        clbits = dict(zip(definition.clbits, instruction.clbits, strict=True))
        for inner in definition.data:
            if is_control_flow(inner.operation):
                raise CircuitError(
                    f"Gate {operation.name!r} hides control flow in its definition; decompose it."
                )
            self._append(
                result,
                inner.replace(
                    qubits=[qubits[bit] for bit in inner.qubits],
                    clbits=[clbits[bit] for bit in inner.clbits],
                ),
            )

    def _count(self, operations: int) -> None:
        self._written += operations
        if self._written > self._max_operations:
            raise CircuitError(
                f"A circuit has more than {self._max_operations} operations once its gates are "
                "decomposed; use a smaller circuit."
            )


def _definition(operation: Operation) -> QuantumCircuit:
    definition = operation.definition if isinstance(operation, Instruction) else None
    if definition is None:
        raise CircuitError(
            f"Operation {operation.name!r} is unknown and has no definition; decompose it into "
            "gates of Qiskit's standard library."
        )
    if definition.num_vars or definition.num_stretches:
        raise CircuitError(
            f"Gate {operation.name!r} declares run-time variables, which are not supported."
        )
    return definition
