"""Jobs for the simulation's tests, run in this process without workers."""

import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue
from qiskit import QuantumCircuit, qpy

from kubeqpu.proto.v1 import gateway_pb2
from kubeqpu.qpu_gateway.providers.base import Span
from kubeqpu.qpu_gateway.simulation.device import (
    Device,
    GateCalibration,
    InstructionCalibration,
    QubitCalibration,
)
from kubeqpu.qpu_gateway.simulation.tasks import TaskRunner
from kubeqpu.qpu_gateway.workers.frames import Frame
from kubeqpu.qpu_gateway.workers.limits import WorkerLimits

IDEAL: dict[str, JsonValue] = {"kind": "ideal", "settings": {"qpu": "ideal", "num_qubits": 30}}


def dump(circuits: QuantumCircuit | Sequence[QuantumCircuit], version: int = 17) -> bytes:
    """Writes circuits as QPY."""
    stream = io.BytesIO()
    qpy.dump(circuits, stream, version=version)
    return stream.getvalue()


def parameter_array(values: NDArray[np.float64]) -> gateway_pb2.ParameterArray:
    """Writes parameter values of shape (rows, columns)."""
    rows, columns = values.shape
    return gateway_pb2.ParameterArray(
        rows=rows, columns=columns, values=values.astype("<f8").tobytes()
    )


def sampler_spec(
    circuit: QuantumCircuit,
    values: NDArray[np.float64] | None = None,
    shots: Sequence[int] = (1000,),
    result_format: gateway_pb2.ResultFormat.ValueType = gateway_pb2.RESULT_FORMAT_COUNTS,
    seed: int = 11,
) -> gateway_pb2.JobSpec:
    """Makes a sampler's job of one entry."""
    array = parameter_array(np.zeros((1, 0)) if values is None else values)
    entry = gateway_pb2.SamplerEntry(template=0, parameters=array, shots=shots)
    sampler = gateway_pb2.SamplerSpec(entries=[entry], format=result_format)
    return gateway_pb2.JobSpec(qpu="q", circuits=dump(circuit), sampler=sampler, seed=seed)


def run(
    spec: gateway_pb2.JobSpec, spans: Sequence[Span], engine: dict[str, JsonValue] | None = None
) -> list[gateway_pb2.ResultChunk]:
    """Runs spans of a job in this process."""
    head: dict[str, JsonValue] = {
        "task": "run",
        "job": "job",
        "engine_key": "engine",
        "engine": IDEAL if engine is None else engine,
        "spans": [[span.entry, span.first_row, span.rows] for span in spans],
    }
    frames = TaskRunner(WorkerLimits()).run(Frame(head, spec.SerializeToString()))
    return [gateway_pb2.ResultChunk.FromString(frame.payload) for frame in frames]


def frequencies(row: gateway_pb2.RowCounts, num_clbits: int) -> NDArray[np.int64]:
    """Counts of all 2^n outcomes of one row."""
    width = (num_clbits + 7) // 8
    found = np.zeros(2**num_clbits, np.int64)
    for index, count in enumerate(row.counts):
        outcome = row.outcomes[index * width : (index + 1) * width]
        found[int.from_bytes(outcome, "big")] = count
    return found


def noisy(device: Device, qpu: str = "noisy") -> dict[str, JsonValue]:
    """Settings of an engine for a device."""
    settings: dict[str, JsonValue] = {
        "qpu": qpu,
        "calibration_id": device.calibration_id,
        "device": device.model_dump(mode="json"),
    }
    return {"kind": "noisy", "settings": settings}


def line_device(num_qubits: int, seed: int = 1) -> Device:
    """Makes a device of qubits in a line, with errors that are large enough to be seen."""
    generator = np.random.default_rng(seed)
    ones = [(qubit,) for qubit in range(num_qubits)]
    edges = [(a, a + 1) for a in range(num_qubits - 1)] + [
        (a + 1, a) for a in range(num_qubits - 1)
    ]

    def gates(
        places: Sequence[tuple[int, ...]], error: float, duration: float
    ) -> tuple[GateCalibration, ...]:
        return tuple(
            GateCalibration(qubits=q, error=error * generator.uniform(0.5, 1.5), duration=duration)
            for q in places
        )

    plain = tuple(GateCalibration(qubits=q, error=0.0, duration=0.0) for q in ones)
    return Device.model_validate(
        {
            "backend_name": "line",
            "num_qubits": num_qubits,
            "calibrated_at": "2026-01-01T00:00:00Z",
            "dt": 1e-9,
            "instructions": (
                InstructionCalibration(name="sx", gates=gates(ones, 5e-3, 6e-8)),
                InstructionCalibration(name="x", gates=gates(ones, 5e-3, 6e-8)),
                InstructionCalibration(name="rz", parameters=("λ",), gates=plain),
                InstructionCalibration(name="cz", gates=gates(edges, 3e-2, 3e-7)),
                InstructionCalibration(name="measure", gates=gates(ones, 0.0, 1e-6)),
                InstructionCalibration(name="reset", gates=gates(ones, 0.0, 1e-6)),
                InstructionCalibration(
                    name="delay",
                    parameters=("t",),
                    gates=tuple(GateCalibration(qubits=q) for q in ones),
                ),
                InstructionCalibration(name="if_else"),
            ),
            "qubits": tuple(
                QubitCalibration(
                    t1=6e-5 * generator.uniform(0.5, 1.5),
                    t2=6e-5 * generator.uniform(0.5, 1.5),
                    prob_meas1_prep0=0.03 * generator.uniform(0.5, 1.5),
                    prob_meas0_prep1=0.08 * generator.uniform(0.5, 1.5),
                )
                for _ in range(num_qubits)
            ),
        }
    )
