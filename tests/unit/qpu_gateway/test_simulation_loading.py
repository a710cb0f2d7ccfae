"""What the QPY guard lets through, and what it says when it does not."""

import contextlib
import struct
from collections.abc import Callable

import pytest
from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister
from qiskit.circuit import Clbit, Gate, Parameter
from qiskit.circuit.classical import expr, types

from kubeqpu.qpu_gateway.circuits import CircuitSummary
from kubeqpu.qpu_gateway.errors import CircuitError
from kubeqpu.qpu_gateway.simulation.loading import load_circuits
from kubeqpu.qpu_gateway.simulation.summaries import summarise
from kubeqpu.qpu_gateway.workers import WorkerLimits
from tests.support.simulation import dump

LIMITS = WorkerLimits(max_payload_bytes=100_000, max_templates=3, max_qubits=5, max_operations=50)


def bell() -> QuantumCircuit:
    circuit = QuantumCircuit(2, 2)
    circuit.h(0)
    circuit.cx(0, 1)
    circuit.measure([0, 1], [0, 1])
    return circuit


def with_version(payload: bytes, version: int) -> bytes:
    return payload[:6] + bytes([version]) + payload[7:]


def opaque() -> bytes:
    circuit = QuantumCircuit(2, 1)
    circuit.append(Gate("mystery", 2, []), [0, 1])
    return dump(circuit)


def doubling(levels: int) -> bytes:
    """A gate of 2^levels operations in a payload of a few hundred bytes."""
    definition = QuantumCircuit(1)
    definition.h(0)
    for level in range(levels):
        gate = Gate(f"level{level}", 1, [])
        gate.definition = definition
        definition = QuantumCircuit(1)
        definition.append(gate, [0], copy=False)
        definition.append(gate, [0], copy=False)
    definition.add_register(ClassicalRegister(1, "c"))
    return dump(definition)


def loose_bit() -> bytes:
    return dump(QuantumCircuit(QuantumRegister(1, "q"), [Clbit()]))


def shared_bit() -> bytes:
    bits = [Clbit(), Clbit()]
    first, second = ClassicalRegister(bits=bits, name="a"), ClassicalRegister(bits=bits, name="b")
    return dump(QuantumCircuit(QuantumRegister(1, "q"), first, second))


def variable() -> bytes:
    circuit = QuantumCircuit(1, 1)
    circuit.add_var("flag", expr.lift(False, types.Bool()))
    return dump(circuit)


def programs(count: int) -> bytes:
    payload = dump(bell())
    return payload[:10] + struct.pack("!Q", count) + payload[18:]


REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty": (lambda: b"", "is not QPY"),
    "text": (lambda: b"OPENQASM 3.0; qubit q;", "is not QPY"),
    "magic only": (lambda: b"QISKIT", "is not QPY"),
    "version 12": (lambda: with_version(dump(bell(), 13), 12), "version 12"),
    "version 19": (lambda: with_version(dump(bell()), 19), "version 19"),
    "version 255": (lambda: with_version(dump(bell()), 255), "version 255"),
    "truncated": (lambda: dump(bell())[:-20], "cannot be loaded"),
    "header only": (lambda: dump(bell())[:20], "cannot be loaded"),
    "no circuits": (lambda: programs(0), "holds 0 circuits"),
    "many circuits": (lambda: dump([bell()] * 4), "holds 4 circuits"),
    "forged count": (lambda: programs(3), "cannot be loaded"),
    "forged huge count": (lambda: programs(2**60), "circuits, 1 to 3"),
    "large": (lambda: dump(bell()) + b"\0" * 100_000, "100000 are taken"),
    "wide": (lambda: dump(QuantumCircuit(6, 1)), "has 6 qubits"),
    "opaque gate": (opaque, "'mystery' is unknown"),
    "too many operations": (lambda: doubling(6), "more than 50 operations"),
    "loose bit": (loose_bit, "no register or in several"),
    "shared bit": (shared_bit, "no register or in several"),
    "run-time variable": (variable, "run-time variables"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_payloads_are_refused_in_one_sentence(case: str) -> None:
    make, expected = REFUSED[case]
    with pytest.raises(CircuitError, match=expected) as caught:
        load_circuits(make(), LIMITS)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("version", range(13, 18))
def test_a_version_forged_upwards_never_crashes(version: int) -> None:
    payload = dump(bell(), version)
    for forged in range(version + 1, 19):
        # Formats that did not change the parts in use load all the same.
        with contextlib.suppress(CircuitError):
            assert load_circuits(with_version(payload, forged), LIMITS) == [bell()]


@pytest.mark.parametrize("version", range(13, 19))
def test_versions_13_to_18_are_loaded(version: int) -> None:
    assert load_circuits(dump([bell(), bell()], version), LIMITS) == [bell(), bell()]


def test_own_gates_are_resolved_and_a_forged_name_is_not_believed() -> None:
    impostor = QuantumCircuit(1, name="x")
    impostor.h(0)
    impostor.s(0)
    circuit = QuantumCircuit(1, 1)
    circuit.append(impostor.to_gate(), [0])
    circuit.measure(0, 0)
    (loaded,) = load_circuits(dump(circuit), LIMITS)
    assert summarise(loaded).operations == {"h": 1, "s": 1, "measure": 1}


def test_a_circuit_is_summarised() -> None:
    circuit = QuantumCircuit(QuantumRegister(3, "q"))
    circuit.add_register(ClassicalRegister(2, "a"), ClassicalRegister(1, "b"))
    circuit.ry(Parameter("t"), 0)
    circuit.measure(0, 0)
    circuit.barrier()
    circuit.measure(1, 2)
    assert summarise(circuit) == CircuitSummary(
        num_qubits=3,
        registers=(("a", 2), ("b", 1)),
        num_parameters=1,
        operations={"ry": 1, "measure": 2, "barrier": 1},
        mid_circuit=False,
        control_flow=False,
        measured_clbits=2,
    )
    with circuit.if_test((circuit.clbits[0], 1)):
        circuit.x(0)
    conditional = summarise(circuit)
    assert conditional.control_flow
    assert conditional.mid_circuit
    assert conditional.operations["x"] == 1
