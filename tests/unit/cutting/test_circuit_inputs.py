"""Circuits as files, and what is refused before anything is planned."""

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qiskit import qasm2, qasm3, qpy
from qiskit.circuit import ClassicalRegister, Parameter, QuantumCircuit
from qiskit.quantum_info import Operator

from kubeqpu.cutting import BudgetError, InvalidInputError, plan, read_circuit, run
from kubeqpu.cutting.inputs import normalise
from tests.support.state_vector import StateVectorExecutor


def bell() -> QuantumCircuit:
    circuit = QuantumCircuit(2)
    circuit.h(0)
    circuit.cx(0, 1)
    circuit.rz(0.25, 1)
    return circuit


def write_qpy(path: Path, circuits: QuantumCircuit, version: int = 13) -> None:
    with path.open("wb") as file:
        qpy.dump(circuits, file, version=version)


def test_reads_openqasm_2_and_3_and_qpy_by_content(tmp_path: Path) -> None:
    second, third, binary = (tmp_path / name for name in ("a.txt", "b.txt", "c.txt"))
    second.write_text("// a comment\n" + qasm2.dumps(bell()))
    third.write_text(qasm3.dumps(bell()))
    write_qpy(binary, bell())
    for path in (second, third, binary):
        assert Operator(read_circuit(path)).equiv(Operator(bell()))


def test_unreadable_files_are_refused(tmp_path: Path) -> None:
    missing = tmp_path / "missing.qasm"
    with pytest.raises(InvalidInputError, match="cannot be read: No such file"):
        read_circuit(missing)
    (tmp_path / "noise").write_bytes(bytes([0x80, 0xFF, 0x01]))
    with pytest.raises(InvalidInputError, match="neither QPY nor text"):
        read_circuit(tmp_path / "noise")
    (tmp_path / "prose").write_text("Dear reader,")
    with pytest.raises(InvalidInputError, match="not an OpenQASM 3 circuit"):
        read_circuit(tmp_path / "prose")
    (tmp_path / "broken").write_text("OPENQASM 2.0;\nqreg q[2];\nfoo q[0];")
    with pytest.raises(InvalidInputError, match="not an OpenQASM 2 circuit"):
        read_circuit(tmp_path / "broken")


@pytest.mark.parametrize("version", [0, 12, 19, 255])
def test_forged_qpy_versions_are_refused_before_loading(tmp_path: Path, version: int) -> None:
    path = tmp_path / "forged.qpy"
    write_qpy(path, bell())
    data = bytearray(path.read_bytes())
    assert data[:6] == b"QISKIT"
    assert data[6] == 13
    data[6] = version
    path.write_bytes(data)
    with pytest.raises(InvalidInputError, match=f"QPY version {version}, but 13 to 18 are read"):
        read_circuit(path)


def test_damaged_and_plural_qpy_are_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    qpy.dump([bell(), bell()], buffer, version=13)
    path = tmp_path / "two.qpy"
    path.write_bytes(buffer.getvalue())
    with pytest.raises(InvalidInputError, match="holds 2 circuits"):
        read_circuit(path)
    path.write_bytes(buffer.getvalue()[:60])
    with pytest.raises(InvalidInputError, match="damaged QPY"):
        read_circuit(path)


def measured_early() -> QuantumCircuit:
    circuit = QuantumCircuit(2, 1)
    circuit.measure(0, 0)
    circuit.h(0)
    return circuit


def conditional() -> QuantumCircuit:
    circuit = QuantumCircuit(2, 1)
    circuit.measure(0, 0)
    with circuit.if_test((circuit.clbits[0], 1)):
        circuit.x(1)
    return circuit


def reset() -> QuantumCircuit:
    circuit = QuantumCircuit(1)
    circuit.reset(0)
    return circuit


def unbound() -> QuantumCircuit:
    circuit = QuantumCircuit(1)
    circuit.rx(Parameter("theta"), 0)
    return circuit


def not_a_number() -> QuantumCircuit:
    circuit = QuantumCircuit(1)
    circuit.rx(np.nan, 0)
    return circuit


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: QuantumCircuit(0), "no qubits"),
        (measured_early, "Qubit 0 is used after it was measured"),
        (conditional, "control flow"),
        (reset, "reset, which is no gate"),
        (unbound, r"parameters without values \(theta\)"),
        (not_a_number, "must be finite"),
    ],
)
def test_circuits_that_cannot_be_cut_are_refused(
    make: Callable[[], QuantumCircuit], reason: str
) -> None:
    with pytest.raises(InvalidInputError, match=reason):
        normalise(make())


def test_final_measurements_and_barriers_are_dropped() -> None:
    circuit = bell()
    circuit.barrier()
    circuit.add_register(ClassicalRegister(2))
    circuit.measure([0, 1], [0, 1])
    assert Operator(normalise(circuit)).equiv(Operator(bell()))


def test_wide_gates_are_written_out() -> None:
    circuit = QuantumCircuit(4)
    circuit.h(range(4))
    circuit.ccx(0, 1, 2)
    circuit.mcx([0, 1, 2], 3)
    normal = normalise(circuit)
    assert max(item.operation.num_qubits for item in normal.data) == 2
    assert Operator(normal).equiv(Operator(circuit))


@pytest.mark.parametrize(
    ("options", "error", "reason"),
    [
        ({"shots": 10}, BudgetError, "10 shots are too few for 2 local experiments"),
        ({"shots": 0}, InvalidInputError, "shots is 0"),
        ({}, InvalidInputError, "shots is None"),
        ({"shots": 1000, "exact": True}, InvalidInputError, "neither shots"),
        ({"shots": 1000, "pilot": 1.0}, InvalidInputError, "pilot is 1.0"),
    ],
)
def test_runs_that_make_no_sense_are_refused(
    options: Mapping[str, Any], error: type[Exception], reason: str
) -> None:
    executor = StateVectorExecutor()
    made = plan(bell(), ["XX", "ZZ"], 2)
    with pytest.raises(error, match=reason):
        run(made, executor, **options)
    assert executor.tasks == []


@pytest.mark.parametrize("limit", [0, [], [3, 0]])
def test_widths_below_one_are_refused(limit: int | list[int]) -> None:
    with pytest.raises(InvalidInputError, match="max_qubits"):
        plan(bell(), "ZZ", limit)
