"""The circuits and jobs that the gateway's benchmark runs."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from qiskit import QuantumCircuit, qpy
from qiskit.circuit import ParameterVector

from kubeqpu.proto.v1 import gateway_pb2

SHOTS = 1024


def make_template(width: int, layers: int, name: str) -> QuantumCircuit:
    """Makes a chain of parametrised rotations and CNOTs, measured in full."""
    parameters = ParameterVector(name, 2 * width * layers)
    circuit = QuantumCircuit(width, width)
    angles = iter(parameters)
    for _ in range(layers):
        for qubit in range(width):
            circuit.ry(next(angles), qubit)
            circuit.rz(next(angles), qubit)
        for qubit in range(width - 1):
            circuit.cx(qubit, qubit + 1)
    circuit.measure(range(width), range(width))
    return circuit


def make_unique(count: int, generator: np.random.Generator) -> list[QuantumCircuit]:
    """Makes circuits of 3 to 7 qubits, no two alike, without parameters."""
    circuits = []
    for index in range(count):
        template = make_template(3 + index % 5, 2 + index % 3, "a")
        values = generator.uniform(0, 2 * np.pi, template.num_parameters)
        circuits.append(template.assign_parameters(values))
    return circuits


def dump(circuits: Sequence[QuantumCircuit]) -> bytes:
    """Writes circuits as QPY."""
    buffer = io.BytesIO()
    qpy.dump(list(circuits), buffer)
    return buffer.getvalue()


def unique_spec(circuits: Sequence[QuantumCircuit]) -> gateway_pb2.JobSpec:
    """Makes a sampler job with one entry per circuit."""
    row = gateway_pb2.ParameterArray(rows=1)
    entries = [
        gateway_pb2.SamplerEntry(template=index, parameters=row, shots=[SHOTS])
        for index in range(len(circuits))
    ]
    sampler = gateway_pb2.SamplerSpec(entries=entries, format=gateway_pb2.RESULT_FORMAT_BITS)
    return gateway_pb2.JobSpec(qpu="sim", circuits=dump(circuits), sampler=sampler)


def template_spec(
    templates: Sequence[QuantumCircuit], values: Sequence[np.ndarray]
) -> gateway_pb2.JobSpec:
    """Makes a sampler job with one entry per template and many rows in each."""
    entries = [
        gateway_pb2.SamplerEntry(
            template=index,
            parameters=gateway_pb2.ParameterArray(
                rows=rows.shape[0], columns=rows.shape[1], values=rows.astype("<f8").tobytes()
            ),
            shots=[SHOTS],
        )
        for index, rows in enumerate(values)
    ]
    sampler = gateway_pb2.SamplerSpec(entries=entries, format=gateway_pb2.RESULT_FORMAT_BITS)
    return gateway_pb2.JobSpec(qpu="sim", circuits=dump(templates), sampler=sampler)
