"""Circuits over the wire that cannot be read or cannot run are refused with one sentence."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import Gate

from tests.integration.bad_jobs import (
    EXHAUSTED,
    INVALID,
    BadJob,
    bell,
    changed,
    check_refused,
    sampler,
)
from tests.integration.gateway_support import dump

if TYPE_CHECKING:
    from tests.integration.gateway_support import Stub


def forged(version: int) -> bytes:
    payload = bytearray(dump(bell()))
    assert payload[:6] == b"QISKIT"
    payload[6] = version
    return bytes(payload)


def many_programs() -> bytes:
    payload = bytearray(dump(bell()))
    struct.pack_into("!Q", payload, 10, 2**60)
    return bytes(payload)


def conditional() -> QuantumCircuit:
    circuit = bell()
    with circuit.if_test((circuit.clbits[0], 1)):
        circuit.x(1)
    return circuit


def mid_circuit() -> QuantumCircuit:
    circuit = bell()
    circuit.x(0)
    circuit.measure(0, 0)
    return circuit


def unknown_gate() -> QuantumCircuit:
    circuit = QuantumCircuit(1, 1)
    circuit.append(Gate("wobble", 1, []), [0])
    circuit.measure(0, 0)
    return circuit


def clbitless() -> QuantumCircuit:
    circuit = QuantumCircuit(1)
    circuit.h(0)
    return circuit


def wide(qubits: int) -> QuantumCircuit:
    circuit = QuantumCircuit(qubits, qubits)
    circuit.measure(range(qubits), range(qubits))
    return circuit


CASES: dict[str, BadJob] = {
    "not a circuit": (sampler(b"OPENQASM 3.0;"), INVALID, "not QPY"),
    "no circuit": (sampler(b""), INVALID, "no circuits"),
    "qpy 12": (sampler(forged(12)), INVALID, "version 12"),
    "qpy 19": (sampler(forged(19)), INVALID, "version 19"),
    "cut off": (sampler(dump(bell())[:100]), INVALID, "cannot be loaded"),
    "forged header": (sampler(many_programs()), INVALID, "circuits"),
    "oversize payload": (sampler(dump(bell()) + b"\0" * 200_000), EXHAUSTED, "bytes"),
    "too many qubits": (sampler(wide(7)), INVALID, "has 7 qubits, but QPU ideal has 6"),
    "too many for any": (
        changed(sampler(wide(7)), lambda s: setattr(s, "qpu_class", "standard")),
        INVALID,
        "No QPU can run this job",
    ),
    "no classical bits": (sampler(clbitless()), INVALID, "no classical bits"),
    "no measurement": (sampler(bell(measured=False)), INVALID, "measures nothing"),
    "unknown gate": (sampler(unknown_gate()), INVALID, "wobble"),
    "gate outside basis": (sampler(bell(), qpu="fake"), INVALID, "transpile"),
    "control flow": (
        sampler(conditional(), qpu="coin"),
        INVALID,
        "control flow",
    ),
    "mid-circuit": (
        sampler(mid_circuit(), qpu="coin"),
        INVALID,
        "mid-circuit",
    ),
}


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("case", CASES)
async def test_bad_circuits_are_refused_with_a_sentence(strict_stub: Stub, case: str) -> None:
    await check_refused(strict_stub, CASES[case])
