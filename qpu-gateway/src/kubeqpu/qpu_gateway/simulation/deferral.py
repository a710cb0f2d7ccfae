"""Measurements and resets moved to the end of an ideal circuit, exactly.

A measurement in the middle becomes a copy onto a fresh qubit, measured at the end; a reset leaves
the old qubit behind and goes on with a fresh one (principle of deferred measurement, Nielsen and
Chuang, section 4.4). One that is reset right after needs no copy.
"""

from dataclasses import dataclass

from qiskit import QuantumCircuit

from kubeqpu.qpu_gateway.simulation.measurements import MeasurementPlan


@dataclass(frozen=True)
class DeferredCircuit:
    """A unitary circuit with what to read at its end.

    Attributes:
        circuit: Without measurements, resets, barriers and delays.
        outputs: Classical bit → qubit of `circuit` that holds its value at the end.
        wires: For each qubit of the original circuit, the qubit of `circuit` that it ends on.
    """

    circuit: QuantumCircuit
    outputs: dict[int, int]
    wires: tuple[int, ...]


def count_wires(circuit: QuantumCircuit, plan: MeasurementPlan) -> int:
    """Counts the qubits that the deferred circuit would have."""
    copies = sum(event.then_reset is None for event in plan.middle)
    return int(circuit.num_qubits) + copies + len(plan.resets)


def defer_measurements(circuit: QuantumCircuit, plan: MeasurementPlan) -> DeferredCircuit:
    """Builds the deferred circuit of a circuit without control flow."""
    result = QuantumCircuit(count_wires(circuit, plan), global_phase=circuit.global_phase)
    index = {bit: position for position, bit in enumerate(circuit.qubits)}
    wires = list(range(circuit.num_qubits))
    fresh = iter(range(circuit.num_qubits, result.num_qubits))
    middle = {event.position: event for event in plan.middle}
    outputs: dict[int, int] = {}
    bits = result.qubits
    for position, instruction in enumerate(circuit.data):
        name = instruction.name
        if name in {"barrier", "delay"} or position in plan.idle_resets:
            continue
        if position in plan.final_positions:
            continue
        if name == "reset":
            wires[index[instruction.qubits[0]]] = next(fresh)
        elif name == "measure":
            event = middle[position]
            if event.then_reset is None:
                copy = next(fresh)
                result.cx(wires[event.qubit], copy)
            else:
                copy = wires[event.qubit]
            if event.clbit is not None:
                outputs[event.clbit] = copy
        else:
            qubits = [bits[wires[index[bit]]] for bit in instruction.qubits]
            result._append(instruction.replace(qubits=qubits, clbits=()))
    outputs.update({clbit: wires[qubit] for clbit, qubit in plan.final.items()})
    return DeferredCircuit(result, outputs, tuple(wires))
