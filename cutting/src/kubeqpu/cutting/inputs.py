"""Reads circuits and brings them into the form that is cut: gates on one or two qubits only."""

import math
from pathlib import Path

from qiskit import qasm2, qasm3, qpy
from qiskit.circuit import ControlFlowOp, Gate, QuantumCircuit, QuantumRegister
from qiskit.transpiler import PassManager
from qiskit.transpiler.passes import Unroll3qOrMore

from kubeqpu.cutting.errors import InvalidInputError

OLDEST_QPY = 13
NEWEST_QPY = 18
CUT_WIRE = "cut_wire"
CUT_GATE = "qpd_2q"
_IGNORED = {"barrier", "delay", "id"}


def read_circuit(path: str | Path) -> QuantumCircuit:
    """Reads one circuit from an OpenQASM 2, OpenQASM 3 or QPY file.

    Args:
        path: The file; its content, not its name, tells the format.

    Raises:
        InvalidInputError: If the file cannot be read as one circuit.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise InvalidInputError(f"{path} cannot be read: {error.strerror or error}.") from error
    if data.startswith(b"QISKIT"):
        return _read_qpy(path, data)
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise InvalidInputError(
            f"{path} is not a circuit: neither QPY nor text. Give an OpenQASM 2, OpenQASM 3 or QPY "
            "file."
        ) from error
    try:
        if _is_qasm2(text):
            return qasm2.loads(text, custom_instructions=qasm2.LEGACY_CUSTOM_INSTRUCTIONS)
        return qasm3.loads(text)
    except Exception as error:  # The parsers raise many unrelated classes.
        version = 2 if _is_qasm2(text) else 3
        raise InvalidInputError(
            f"{path} is not an OpenQASM {version} circuit: {str(error).strip()}"
        ) from error


def _is_qasm2(text: str) -> bool:
    lines = (line.strip() for line in text.splitlines())
    first = next((line for line in lines if line and not line.startswith("//")), "")
    return first.replace(" ", "").startswith("OPENQASM2")


def _read_qpy(path: str | Path, data: bytes) -> QuantumCircuit:
    version = data[6] if len(data) > 6 else 0
    if not OLDEST_QPY <= version <= NEWEST_QPY:
        raise InvalidInputError(
            f"{path} is QPY version {version}, but {OLDEST_QPY} to {NEWEST_QPY} are read. Write it "
            f"again with qiskit.qpy.dump(..., version={OLDEST_QPY})."
        )
    try:
        with Path(path).open("rb") as file:
            circuits = qpy.load(file)
    except Exception as error:  # A damaged file may raise anything.
        raise InvalidInputError(f"{path} is damaged QPY: {error}") from error
    if len(circuits) != 1:
        raise InvalidInputError(f"{path} holds {len(circuits)} circuits, but one is expected.")
    return circuits[0]


def normalise(circuit: QuantumCircuit) -> QuantumCircuit:
    """Returns the circuit as gates on one or two qubits, markers of the user's cuts included.

    Measurements at the end are dropped, since observables say what is wanted. Barriers and delays
    are dropped too.

    Args:
        circuit: Any unitary circuit with all parameters bound.

    Raises:
        InvalidInputError: If it holds what cannot be cut, with the reason.
    """
    if circuit.num_qubits == 0:
        raise InvalidInputError("The circuit has no qubits. Give one with at least one gate.")
    if circuit.parameters:
        names = ", ".join(parameter.name for parameter in list(circuit.parameters)[:5])
        raise InvalidInputError(
            f"The circuit has parameters without values ({names}). Assign them first."
        )
    plain = QuantumCircuit(QuantumRegister(circuit.num_qubits, "q"), name="circuit")
    measured: set[int] = set()
    for instruction in circuit.data:
        operation, name = instruction.operation, instruction.operation.name
        qubits = [circuit.find_bit(qubit).index for qubit in instruction.qubits]
        if name in _IGNORED:
            continue
        if isinstance(operation, ControlFlowOp):
            raise InvalidInputError(
                f"The circuit holds control flow ({name}), which cannot be cut. Unroll it, or run "
                "the circuit uncut."
            )
        if measured.intersection(qubits):
            raise InvalidInputError(
                f"Qubit {min(measured.intersection(qubits))} is used after it was measured. Only "
                "measurements at the end can be dropped; remove this one or run the circuit uncut."
            )
        if name == "measure":
            measured.update(qubits)
        elif isinstance(operation, Gate) or name in (CUT_WIRE, CUT_GATE):
            _check_parameters(operation.params, name)
            plain.append(operation, qubits)
        else:
            raise InvalidInputError(
                f"The circuit holds {name}, which is no gate and cannot be cut. Remove it or run "
                "the circuit uncut."
            )
    return _unroll(plain)


def _check_parameters(parameters: list[object], name: str) -> None:
    for value in parameters:
        if isinstance(value, int | float) and not math.isfinite(value):
            raise InvalidInputError(
                f"Gate {name} has the parameter {value}. Parameters must be finite numbers."
            )


def _unroll(circuit: QuantumCircuit) -> QuantumCircuit:
    if all(instruction.operation.num_qubits <= 2 for instruction in circuit.data):
        return circuit
    try:
        unrolled: QuantumCircuit = PassManager([Unroll3qOrMore()]).run(circuit)
    except Exception as error:  # Qiskit's classes for a gate without definition differ.
        raise InvalidInputError(
            f"A gate on more than two qubits has no definition: {error} Decompose it first."
        ) from error
    return unrolled
