"""Describing circuits as plain data."""

from collections import Counter

from qiskit import QuantumCircuit
from qiskit.circuit import Clbit, Qubit
from qiskit.circuit.controlflow import CONTROL_FLOW_OP_NAMES

from kubeqpu.qpu_gateway.circuits import CircuitSummary

_NEUTRAL = frozenset({"barrier", "delay"})


def summarise(circuit: QuantumCircuit) -> CircuitSummary:
    """Describes a circuit whose gates were resolved to known kinds."""
    walk = _glance(circuit)
    if walk is None:
        walk = _Walk()
        walk.visit(circuit, dict(zip(circuit.qubits, circuit.qubits, strict=True)))
    return CircuitSummary(
        num_qubits=circuit.num_qubits,
        registers=tuple((register.name, register.size) for register in circuit.cregs),
        num_parameters=circuit.num_parameters,
        operations=dict(walk.operations),
        mid_circuit=walk.mid_circuit,
        control_flow=walk.control_flow,
        measured_clbits=len(walk.measured),
    )


def _glance(circuit: QuantumCircuit) -> "_Walk | None":
    """Describes a circuit that only ends with measurements, as most do, without a walk.

    Submitting waits for this, and a walk costs as much as loading the circuit.
    """
    operations = circuit.count_ops()
    measured = operations.get("measure", 0)
    if "reset" in operations or not CONTROL_FLOW_OP_NAMES.isdisjoint(operations):
        return None
    ending = circuit.data[len(circuit.data) - measured :]
    if any(instruction.name != "measure" for instruction in ending):
        return None
    if len({instruction.qubits[0] for instruction in ending}) < measured:
        return None
    walk = _Walk()
    walk.operations.update(operations)
    walk.measured.update(instruction.clbits[0] for instruction in ending)
    return walk


class _Walk:
    """What is found on the way through a circuit and its blocks."""

    def __init__(self) -> None:
        self.operations: Counter[str] = Counter()
        self.mid_circuit = False
        self.control_flow = False
        self.measured: set[Clbit] = set()
        self._collapsed: set[Qubit] = set()

    def visit(self, circuit: QuantumCircuit, outer: dict[Qubit, Qubit]) -> None:
        for instruction in circuit.data:
            name = instruction.name
            qubits = [outer[bit] for bit in instruction.qubits]
            self.operations[name] += 1
            if name not in _NEUTRAL and not self._collapsed.isdisjoint(qubits):
                self.mid_circuit = True
            if name in {"measure", "reset"}:
                self._collapsed.update(qubits)
            if name == "measure":
                self.measured.update(instruction.clbits)
            if instruction.is_control_flow():
                self.control_flow = True
                for block in instruction.operation.blocks:
                    self.visit(block, dict(zip(block.qubits, qubits, strict=True)))
