"""What the gateway's integration tests share: a served gateway, small jobs, a driven provider."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import grpc
import numpy as np
from qiskit import QuantumCircuit, qpy
from qiskit.circuit import Parameter

from kubeqpu.proto.v1 import gateway_pb2, gateway_pb2_grpc, qpu_pb2
from kubeqpu.qpu_gateway.circuits import CircuitSummary
from kubeqpu.qpu_gateway.providers.base import Batch, QPUSettings
from kubeqpu.qpu_gateway.qpus import ProviderFactory, load_factories
from kubeqpu.qpu_gateway.seeds import row_seeds
from kubeqpu.qpu_gateway.server import Gateway
from kubeqpu.qpu_gateway.settings import GatewaySettings
from kubeqpu.qpu_gateway.simulation.loading import load_circuits
from kubeqpu.qpu_gateway.simulation.summaries import summarise
from kubeqpu.qpu_gateway.workers import WorkerLimits, WorkerPool

if TYPE_CHECKING:
    Stub: TypeAlias = gateway_pb2_grpc.GatewayAsyncStub

COIN_SHOTS = 100
ANGLES = [list(np.linspace(0.1, 3.0, 17)), [0.5], list(np.linspace(1, 2, 8))]


class CoinProvider:
    """Runs one kind of circuit for real: RY(angle) on one qubit, measured; driven by the test.

    Attributes:
        batches: Every batch that was started.
        problems: Raised by the next batches, one each, after their first row.
        available: While not set, batches wait before their next rows.
        rows_per_chunk: How many rows come back together.
    """

    backend_name = "coin"
    simulator = True

    def __init__(self, settings: QPUSettings) -> None:
        self.settings = settings
        self.batches: list[Batch] = []
        self.problems: list[Exception] = []
        self.available = asyncio.Event()
        self.available.set()
        self.rows_per_chunk = 3
        self.max_circuits = 10
        self.cancelled = 0
        self.chunk_hook: Callable[[gateway_pb2.ResultChunk], None] = lambda chunk: None

    async def start(self) -> None:
        pass

    async def describe(self, include_target: bool = False) -> qpu_pb2.QPU:
        conditions = [
            qpu_pb2.Condition(type=kind, status="True") for kind in ("Ready", "Accepting")
        ]
        return qpu_pb2.QPU(
            simulator=True,
            num_qubits=5,
            max_shots=1000,
            max_circuits=self.max_circuits,
            basis_gates=["ry"],
            conditions=conditions,
        )

    async def run(self, batch: Batch) -> AsyncIterator[gateway_pb2.ResultChunk]:
        self.batches.append(batch)
        try:
            for span in batch.spans:
                for first in range(span.first_row, span.first_row + span.rows, self.rows_per_chunk):
                    await self.available.wait()
                    end = min(first + self.rows_per_chunk, span.first_row + span.rows)
                    chunk = flip(batch.spec, span.entry, first, end - first)
                    self.chunk_hook(chunk)
                    yield chunk
                    if self.problems:
                        raise self.problems.pop(0)
                    await asyncio.sleep(0)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise

    async def close(self) -> None:
        pass

    def rows_run(self) -> list[tuple[str, int, int]]:
        """Lists (job, entry, row) of every row that was handed to this provider."""
        return [
            (batch.job_id, span.entry, span.first_row + index)
            for batch in self.batches
            for span in batch.spans
            for index in range(span.rows)
        ]


def flip(spec: gateway_pb2.JobSpec, entry: int, first: int, rows: int) -> gateway_pb2.ResultChunk:
    """Samples rows of a coin job."""
    parameters = spec.sampler.entries[entry].parameters
    angles = np.frombuffer(parameters.values, "<f8")[first : first + rows]
    chunk = gateway_pb2.ResultChunk(entry=entry, first_row=first, rows=rows)
    shots = spec.sampler.entries[entry].shots
    chunk.counts.num_clbits = 1
    for index, seed in enumerate(row_seeds(spec.seed, entry, first, rows)):
        number = shots[first + index] if len(shots) > 1 else shots[0]
        generator = np.random.Generator(np.random.Philox(int(seed)))
        ones = int(generator.binomial(number, np.sin(angles[index] / 2) ** 2))
        chunk.counts.rows.add(outcomes=b"\0\1", counts=[number - ones, ones])
    return chunk


class InProcessInspector:
    """Describes circuits with the workers' own functions, but without a worker."""

    async def inspect(self, tenant: str, qpy: bytes) -> tuple[CircuitSummary, ...]:
        return tuple(summarise(circuit) for circuit in load_circuits(qpy, WorkerLimits()))


class Coins:
    """Makes coin providers and keeps them, by the name of their QPU."""

    def __init__(self, prepare: Callable[[CoinProvider], None] = lambda provider: None) -> None:
        self.by_name: dict[str, CoinProvider] = {}
        self._prepare = prepare

    def __call__(self, settings: QPUSettings, workers: WorkerPool) -> CoinProvider:
        provider = CoinProvider(settings)
        self._prepare(provider)
        self.by_name[settings.name] = provider
        return provider

    def factories(self) -> Mapping[str, ProviderFactory]:
        return {"coin": self}


def make_settings(folder: Path, **changes: object) -> GatewaySettings:
    """Makes settings of a gateway on a socket in a folder, with one coin."""
    values: dict[str, object] = {
        "listen": (f"unix:{folder / 'gateway.sock'}",),
        "data_dir": folder / "data",
        "metrics_port": None,
        "stop_grace_seconds": 5.0,
        "qpus": [{"name": "coin", "provider": "coin"}],
    }
    return GatewaySettings.model_validate(values | changes)


@asynccontextmanager
async def connect(address: str) -> AsyncIterator[Stub]:
    """Connects to a gateway."""
    options = [
        ("grpc.max_receive_message_length", 2**28),
        # A gateway that is being restarted is back soon.
        ("grpc.initial_reconnect_backoff_ms", 50),
        # How long an attempt may take: a busy machine is slow to shake hands.
        ("grpc.min_reconnect_backoff_ms", 5_000),
        ("grpc.max_reconnect_backoff_ms", 100),
    ]
    async with grpc.aio.insecure_channel(address, options) as channel:
        yield gateway_pb2_grpc.GatewayStub(channel)


@asynccontextmanager
async def serve(
    settings: GatewaySettings, coins: Coins | None = None, *, workers: bool = False
) -> AsyncIterator[tuple[Gateway, Stub]]:
    """Serves a gateway in this process; with `workers`, circuits are inspected in workers."""
    factories = {**load_factories(), **(coins.factories() if coins is not None else {})}
    gateway = Gateway(settings, factories, None if workers else InProcessInspector())
    async with gateway, connect(gateway.addresses[0]) as stub:
        yield gateway, stub


async def wait_started(stub: Stub) -> None:
    """Waits until the providers of all QPUs have started."""
    async with asyncio.timeout(60):
        while True:
            found = await stub.ListQPUs(gateway_pb2.ListQPUsRequest())
            if all(qpu.num_qubits > 0 for qpu in found.qpus):
                return
            await asyncio.sleep(0.05)


def dump(*circuits: QuantumCircuit) -> bytes:
    """Writes circuits as QPY."""
    buffer = io.BytesIO()
    qpy.dump(list(circuits), buffer)
    return buffer.getvalue()


def coin_circuit() -> QuantumCircuit:
    """Makes the circuit that coins run."""
    circuit = QuantumCircuit(1, 1)
    circuit.ry(Parameter("angle"), 0)
    circuit.measure(0, 0)
    return circuit


def parameters(values: Sequence[Sequence[float]]) -> gateway_pb2.ParameterArray:
    """Writes rows of parameter values."""
    array = np.asarray(values, "<f8")
    return gateway_pb2.ParameterArray(
        rows=array.shape[0], columns=array.shape[1], values=array.tobytes()
    )


_COIN = dump(coin_circuit())


def coin_spec(
    angles: Sequence[Sequence[float]], qpu: str = "coin", **changes: object
) -> gateway_pb2.JobSpec:
    """Makes a job of coins: one entry per sequence of angles."""
    entries = [
        gateway_pb2.SamplerEntry(
            parameters=parameters([[angle] for angle in row]), shots=[COIN_SHOTS]
        )
        for row in angles
    ]
    spec = gateway_pb2.JobSpec(qpu=qpu, circuits=_COIN, seed=7)
    spec.sampler.CopyFrom(
        gateway_pb2.SamplerSpec(entries=entries, format=gateway_pb2.RESULT_FORMAT_COUNTS)
    )
    for name, value in changes.items():
        setattr(spec, name, value)
    return spec


def request(key: str, spec: gateway_pb2.JobSpec) -> gateway_pb2.SubmitJobRequest:
    """Makes a submission."""
    return gateway_pb2.SubmitJobRequest(idempotency_key=key, spec=spec)


Results: TypeAlias = "dict[tuple[int, int], bytes]"


async def collect(stub: Stub, job_id: str) -> tuple[Results, gateway_pb2.Job]:
    """Streams a coin job's results; fails if a row comes twice or anything follows the job."""
    rows: Results = {}
    final: gateway_pb2.Job | None = None
    async for event in stub.StreamResults(gateway_pb2.StreamResultsRequest(id=job_id)):
        assert final is None, "something followed the final job"
        if event.HasField("job"):
            final = event.job
            continue
        chunk = event.chunk
        for index in range(chunk.rows):
            cell = (chunk.entry, chunk.first_row + index)
            assert cell not in rows, f"row {cell} came twice"
            rows[cell] = chunk.counts.rows[index].SerializeToString(deterministic=True)
    assert final is not None
    return rows, final


def expected(spec: gateway_pb2.JobSpec) -> Results:
    """Computes what a coin job gives."""
    return {
        (index, row): flip(spec, index, row, 1).counts.rows[0].SerializeToString(deterministic=True)
        for index, entry in enumerate(spec.sampler.entries)
        for row in range(entry.parameters.rows)
    }


async def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    """Waits until something holds."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - conditions of any kind
            await asyncio.sleep(0.005)


def stream_request(job: gateway_pb2.Job) -> gateway_pb2.StreamResultsRequest:
    """Asks for all results of a job."""
    return gateway_pb2.StreamResultsRequest(id=job.id)
