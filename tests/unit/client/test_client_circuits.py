"""Circuits become one QPY payload: only what runs, the same bytes in every process."""

import io
import subprocess
import sys

import numpy as np
import pytest
from qiskit import QuantumCircuit, qpy
from qiskit.circuit import Parameter, ParameterVector
from qiskit.quantum_info import Operator

from kubeqpu.client import InvalidRequestError, circuits_to_qpy

PROGRAM = """
import hashlib
from qiskit import QuantumCircuit
from qiskit.circuit import ParameterVector
from kubeqpu.client import circuits_to_qpy
[QuantumCircuit() for _ in range({made_before})]
angles = ParameterVector("x", 3)
circuit = QuantumCircuit(3)
for qubit, angle in enumerate(angles):
    circuit.ry(angle, qubit)
circuit.measure_all()
print(hashlib.sha256(circuits_to_qpy([circuit, circuit])).hexdigest())
"""


def test_anything_but_circuits_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="Item 0 is a str; expected a QuantumCircuit"):
        circuits_to_qpy(["OPENQASM 3.0;"])
    with pytest.raises(InvalidRequestError, match="no circuits"):
        circuits_to_qpy([])


def test_names_and_metadata_stay_with_the_caller() -> None:
    circuit = QuantumCircuit(1, name="drug-17", metadata={"secret": object()})
    circuit.rx(Parameter("affinity"), 0)
    payload = circuits_to_qpy(circuit)
    assert payload[:6] == b"QISKIT"
    assert 13 <= payload[6] <= 18
    for word in (b"secret", b"drug", b"affinity"):
        assert word not in payload
    assert "secret" in circuit.metadata
    assert [parameter.name for parameter in circuit.parameters] == ["affinity"]


def test_the_same_circuits_give_the_same_bytes_in_every_process() -> None:
    digests = {
        subprocess.run(
            [sys.executable, "-c", PROGRAM.format(made_before=before)],
            capture_output=True,
            check=True,
        ).stdout
        for before in (0, 3)
    }
    assert len(digests) == 1


def test_parameters_keep_their_order_and_meaning() -> None:
    # Elements of a vector sort by index, x[2] before x[10]; other names as text.
    vector, late, early = ParameterVector("x", 12), Parameter("z"), Parameter("Z")
    circuit = QuantumCircuit(2)
    for angle in vector:
        circuit.ry(angle * late, 0)
        circuit.crx(early + angle, 0, 1)
    circuit.global_phase = late
    (loaded,) = qpy.load(io.BytesIO(circuits_to_qpy(circuit)))
    values = np.random.default_rng(1).uniform(size=14)
    assert Operator(loaded.assign_parameters(values)) == Operator(circuit.assign_parameters(values))
