"""Qiskit targets from a device's plain data."""

from collections.abc import Sequence

from qiskit.circuit import Instruction, Parameter
from qiskit.circuit.controlflow import CONTROL_FLOW_OP_NAMES, ForLoopOp, IfElseOp, SwitchCaseOp
from qiskit.circuit.library import get_standard_gate_name_mapping
from qiskit.transpiler import InstructionProperties, QubitProperties, Target

from kubeqpu.qpu_gateway.simulation.device import Device, InstructionCalibration

_CONTROL_FLOW = {"if_else": IfElseOp, "for_loop": ForLoopOp, "switch_case": SwitchCaseOp}


def build_target(device: Device) -> Target:
    """Builds the target that templates are transpiled for."""
    target = Target(
        num_qubits=device.num_qubits,
        dt=device.dt,
        qubit_properties=[
            QubitProperties(t1=qubit.t1, t2=qubit.t2, frequency=qubit.frequency)
            for qubit in device.qubits
        ],
    )
    for instruction in device.instructions:
        if instruction.name in CONTROL_FLOW_OP_NAMES:
            target.add_instruction(_CONTROL_FLOW[instruction.name], name=instruction.name)
        elif instruction.gates:
            target.add_instruction(_operation(instruction), _properties(device, instruction))
    return target


def first_unsupported(
    target: Target, operations: Sequence[tuple[str, tuple[int, ...]]]
) -> tuple[str, tuple[int, ...]] | None:
    """Finds the first operation that the target lacks on its qubits."""
    checked: set[tuple[str, tuple[int, ...]]] = set()
    for name, qubits in operations:
        if name in {"barrier", "global_phase"} or name in CONTROL_FLOW_OP_NAMES:
            continue
        if (name, qubits) not in checked:
            if name not in target.operation_names or not target.instruction_supported(name, qubits):
                return name, qubits
            checked.add((name, qubits))
    return None


def _operation(instruction: InstructionCalibration) -> Instruction:
    operation = get_standard_gate_name_mapping()[instruction.name]
    if instruction.parameters:
        parameters = [Parameter(name) for name in instruction.parameters]
        operation = operation.base_class(*parameters)
    return operation


def _properties(
    device: Device, instruction: InstructionCalibration
) -> dict[tuple[int, ...], InstructionProperties | None]:
    found: dict[tuple[int, ...], InstructionProperties | None] = {}
    for gate in instruction.gates:
        error = gate.error
        if instruction.name == "measure":
            error = device.qubits[gate.qubits[0]].readout_error
        bare = error is None and gate.duration is None
        found[gate.qubits] = (
            None if bare else InstructionProperties(duration=gate.duration, error=error)
        )
    return found
