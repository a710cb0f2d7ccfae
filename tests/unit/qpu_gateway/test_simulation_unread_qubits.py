"""Mid-circuit measurements on qubits that nothing reads afterwards."""

import pytest
from pydantic import JsonValue
from qiskit import QuantumCircuit

from kubeqpu.client import Options, SamplerEntry, SamplerJob, circuits_to_qpy
from kubeqpu.client.requests import write_spec
from kubeqpu.proto.v1 import gateway_pb2
from kubeqpu.qpu_gateway.providers.base import Batch, QPUSettings, Span
from kubeqpu.qpu_gateway.providers.fake import FakeProvider
from kubeqpu.qpu_gateway.workers import WorkerPool

SHOTS = 4000
OPTIONS: dict[str, JsonValue] = {"backend": "FakeFez", "num_qubits": 2}


def make_correlated(after: str) -> QuantumCircuit:
    """Two perfectly correlated bits; the first is measured in the middle, then changed."""
    circuit = QuantumCircuit(2, 2)
    circuit.ry(0.8, 1)
    circuit.cx(1, 0)
    circuit.measure(1, 0)
    getattr(circuit, after)(1)
    circuit.measure(0, 1)
    return circuit


@pytest.mark.parametrize("after", ["h", "x", "sx"])
async def test_what_follows_a_measurement_does_not_change_its_outcome(after: str) -> None:
    job = SamplerJob(
        circuits=circuits_to_qpy([make_correlated(after)]),
        entries=[SamplerEntry(shots=SHOTS)],
        seed=3,
        qpu="fez",
        options=Options(transpile_level=1),
    )
    batch = Batch("job", "tenant", write_spec(job, None), (Span(0, 0, 1),))
    pool = WorkerPool()
    await pool.start()
    provider = FakeProvider(QPUSettings(name="fez", provider="fake", options=OPTIONS), pool)
    await provider.start()
    try:
        chunks = [chunk async for chunk in provider.run(batch)]
    finally:
        await provider.close()
        await pool.close()
    counts = read_counts(chunks[0])
    # sin²(0.4) = 0.15; readout errors of about half a per cent each blur it.
    agreeing = counts.get(0, 0) + counts.get(3, 0)
    assert agreeing > 0.98 * SHOTS
    assert 0.12 * SHOTS < counts.get(3, 0) < 0.18 * SHOTS


def read_counts(chunk: gateway_pb2.ResultChunk) -> dict[int, int]:
    row = chunk.counts.rows[0]
    return dict(zip(row.outcomes, row.counts, strict=True))
