"""Loading of QPY payloads that nobody has vouched for.

The version is read before anything is loaded, because loading versions below 13 can execute code
(CVE-2025-2000). The remaining trust is placed in the worker: it has nothing to lose but itself.
"""

import io
import struct
import warnings

from qiskit import QuantumCircuit, qpy

from kubeqpu.qpu_gateway.errors import CircuitError
from kubeqpu.qpu_gateway.simulation.lowering import resolve
from kubeqpu.qpu_gateway.workers.limits import WorkerLimits

MIN_VERSION = 13
MAX_VERSION = 18
# Magic, QPY version, Qiskit's three version numbers, number of programs.
_HEADER = struct.Struct("!6sBBBBQ")


def check_header(payload: bytes, limits: WorkerLimits) -> None:
    """Checks what can be known of a payload without loading it.

    Raises:
        CircuitError: If it is no QPY of a supported version, or over a limit.
    """
    if len(payload) > limits.max_payload_bytes:
        raise CircuitError(
            f"The QPY payload has {len(payload)} bytes, at most {limits.max_payload_bytes} are "
            "taken; split the job."
        )
    if len(payload) < _HEADER.size or not payload.startswith(b"QISKIT"):
        raise CircuitError("The payload is not QPY; write it with qiskit.qpy.dump().")
    _, version, *_, programs = _HEADER.unpack_from(payload)
    if not MIN_VERSION <= version <= MAX_VERSION:
        raise CircuitError(
            f"The payload is QPY version {version}, versions {MIN_VERSION} to {MAX_VERSION} are "
            "taken; write it with qiskit.qpy.dump(..., version=13)."
        )
    if not 1 <= programs <= limits.max_templates:
        raise CircuitError(
            f"The payload holds {programs} circuits, 1 to {limits.max_templates} are taken; "
            "split the job."
        )


def load_circuits(payload: bytes, limits: WorkerLimits) -> list[QuantumCircuit]:
    """Loads the circuits of a payload, with their own gates resolved to known kinds.

    Raises:
        CircuitError: If the payload is not acceptable.
    """
    check_header(payload, limits)
    circuits = [_checked(circuit, limits) for circuit in _read(payload)]
    budget = limits.max_operations
    return [resolve(circuit, budget) for circuit in circuits]


def _read(payload: bytes) -> list[QuantumCircuit]:
    try:
        with warnings.catch_warnings():
            # A newer Qiskit wrote it: what it uses is checked below, by kind.
            warnings.simplefilter("ignore")
            circuits = qpy.load(io.BytesIO(payload))
    except (MemoryError, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # Rust panics are not Exceptions
        raise CircuitError(
            f"The QPY payload cannot be loaded ({_first_line(error)}); "
            "write it with qiskit.qpy.dump()."
        ) from error
    if not all(type(circuit) is QuantumCircuit for circuit in circuits):
        raise CircuitError("The QPY payload holds something else than circuits; send circuits.")
    return list(circuits)


def _first_line(error: BaseException) -> str:
    text = str(error).strip("'\" \n").splitlines()
    return f"{type(error).__name__}: {text[0][:200]}" if text else type(error).__name__


def _checked(circuit: QuantumCircuit, limits: WorkerLimits) -> QuantumCircuit:
    if circuit.num_qubits > limits.max_qubits:
        raise CircuitError(
            f"Circuit {circuit.name!r} has {circuit.num_qubits} qubits, at most "
            f"{limits.max_qubits} are taken."
        )
    if circuit.num_vars or circuit.num_stretches:
        raise CircuitError(
            f"Circuit {circuit.name!r} declares run-time variables, which are not supported; "
            "use parameters."
        )
    in_registers = [bit for register in circuit.cregs for bit in register]
    if len(set(in_registers)) != len(in_registers) or len(in_registers) != circuit.num_clbits:
        raise CircuitError(
            f"Circuit {circuit.name!r} has classical bits that are in no register or in several; "
            "put each into exactly one ClassicalRegister."
        )
    return circuit
