"""Qiskit's Target from a QPU's plain data."""

from qiskit.circuit import Gate, Instruction, Parameter
from qiskit.circuit.controlflow import get_control_flow_name_mapping
from qiskit.circuit.library import get_standard_gate_name_mapping
from qiskit.providers import QubitProperties
from qiskit.transpiler import InstructionProperties, Target

from kubeqpu.client import errors
from kubeqpu.client.qpus import Target as PlainTarget
from kubeqpu.client.qpus import TargetInstruction


def build_target(plain: PlainTarget) -> Target:
    """Rebuilds a transpilation target with its errors, durations and qubit properties.

    Instructions that Qiskit does not know become opaque ones of the same name and width.

    Raises:
        ProtocolError: If an unknown instruction names no qubits, so that its width is unknown.
    """
    target = Target(
        num_qubits=plain.num_qubits,
        dt=plain.dt,
        qubit_properties=[
            QubitProperties(t1=qubit.t1_seconds, t2=qubit.t2_seconds) for qubit in plain.qubits
        ]
        or None,
    )
    control_flow = get_control_flow_name_mapping()
    standard = get_standard_gate_name_mapping()
    for found in plain.instructions:
        if found.name in control_flow:
            target.add_instruction(control_flow[found.name], name=found.name)
            continue
        known = standard.get(found.name)
        instruction = _with_parameters(known, found) if known else _make_opaque(found)
        target.add_instruction(instruction, _read_sites(found), name=found.name)
    return target


def build_ideal_target(num_qubits: int) -> Target:
    """Makes the target of a simulator without noise: every standard gate on all qubits alike."""
    target = Target(num_qubits=num_qubits)
    for name, instruction in get_standard_gate_name_mapping().items():
        target.add_instruction(instruction, name=name)
    for name, kind in get_control_flow_name_mapping().items():
        target.add_instruction(kind, name=name)
    return target


def _read_sites(
    found: TargetInstruction,
) -> dict[tuple[int, ...], InstructionProperties] | None:
    if not found.sites:
        return None
    return {
        site.qubits: InstructionProperties(duration=site.duration_seconds, error=site.error)
        for site in found.sites
    }


def _with_parameters(known: Instruction, found: TargetInstruction) -> Instruction:
    if not found.parameters:
        return known
    made = known.to_mutable()
    made.params = _read_parameters(found)
    return made


def _make_opaque(found: TargetInstruction) -> Instruction:
    if not found.sites:
        raise errors.ProtocolError(
            f"The QPU's target has an instruction {found.name!r} that Qiskit does not know and "
            "that names no qubits; expected at least one. Please report it."
        )
    return Gate(found.name, len(found.sites[0].qubits), _read_parameters(found))


def _read_parameters(found: TargetInstruction) -> list[float | Parameter]:
    return [_read_parameter(text) for text in found.parameters]


def _read_parameter(text: str) -> float | Parameter:
    try:
        return float(text)
    except ValueError:
        return Parameter(text)
