"""The ideal simulator as the gateway sees it."""

from collections.abc import AsyncIterator

import pytest
from pydantic import JsonValue
from qiskit import QuantumCircuit

from kubeqpu.proto.v1 import gateway_pb2
from kubeqpu.qpu_gateway.errors import CircuitError, ProviderError
from kubeqpu.qpu_gateway.providers.aer import AerProvider
from kubeqpu.qpu_gateway.providers.base import Batch, QPUSettings, Span
from kubeqpu.qpu_gateway.workers import WorkerPool
from tests.support.simulation import frequencies, sampler_spec


@pytest.fixture
async def workers() -> AsyncIterator[WorkerPool]:
    pool = WorkerPool()
    yield pool
    await pool.close()


def provider(workers: WorkerPool, **options: JsonValue) -> AerProvider:
    return AerProvider(QPUSettings(name="sim", provider="aer", options=options), workers)


def ghz(width: int) -> QuantumCircuit:
    circuit = QuantumCircuit(width, width)
    circuit.h(0)
    circuit.cx(range(width - 1), range(1, width))
    circuit.measure(range(width), range(width))
    return circuit


async def run(
    simulator: AerProvider, spec: gateway_pb2.JobSpec, job: str = "1"
) -> list[gateway_pb2.ResultChunk]:
    return [c async for c in simulator.run(Batch(job, "team-a", spec, (Span(0, 0, 1),)))]


async def test_samples_come_from_a_worker(workers: WorkerPool) -> None:
    simulator = provider(workers)
    await simulator.start()
    for job in ("1", "1", "2"):
        (chunk,) = await run(simulator, sampler_spec(ghz(3), shots=[1000]), job)
        zeros, ones = frequencies(chunk.counts.rows[0], 3)[[0, 7]]
        assert zeros + ones == 1000
        assert chunk.execution.qpu == "sim"
    (worker,) = workers.processes
    assert worker.tenant == "team-a"


async def test_the_worker_forgets_jobs_as_the_pool_thinks_it_does(workers: WorkerPool) -> None:
    simulator = provider(workers)
    await simulator.start()
    jobs = [f"job-{index}" for index in range(workers.limits.cached_jobs + 2)]
    first = [await run(simulator, sampler_spec(ghz(2), seed=i), job) for i, job in enumerate(jobs)]
    # The latest are still there, the first two were forgotten.
    for i, job in reversed(list(enumerate(jobs))):
        assert await run(simulator, sampler_spec(ghz(2), seed=i), job) == first[i]
    assert len(workers.processes) == 1


async def test_it_describes_itself(workers: WorkerPool) -> None:
    qpu = await provider(workers, num_qubits=25, max_shots=5000).describe(include_target=True)
    assert (qpu.num_qubits, qpu.max_shots, qpu.noisy, qpu.simulator) == (25, 5000, False, True)
    assert qpu.capabilities.exact
    assert {c.type: c.status for c in qpu.conditions} == dict.fromkeys(
        ("Ready", "Accepting", "Calibrated"), "True"
    )


@pytest.mark.parametrize("options", [{"num_qubits": 0}, {"colour": "red"}, {"device": "TPU"}])
def test_options_are_checked(options: dict[str, JsonValue]) -> None:
    with pytest.raises(ProviderError, match="options of QPU sim are not valid"):
        provider(WorkerPool(), **options)


async def test_a_gpu_that_aer_lacks_is_said_at_start(workers: WorkerPool) -> None:
    with pytest.raises(ProviderError, match=r"device GPU, but Aer offers CPU here"):
        await provider(workers, device="GPU").start()


async def test_wide_circuits_and_layouts_are_refused(workers: WorkerPool) -> None:
    simulator = provider(workers, num_qubits=3)
    await simulator.start()
    with pytest.raises(CircuitError, match="sim takes 3"):
        await run(simulator, sampler_spec(ghz(4)), "1")
    placed = sampler_spec(ghz(2))
    placed.options.initial_layout.qubits.extend([1, 0])
    with pytest.raises(CircuitError, match="without physical qubits"):
        await run(simulator, placed, "2")
