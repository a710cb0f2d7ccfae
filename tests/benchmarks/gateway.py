"""The gateway against bare Aer: what queueing, durability and processes cost.

Both sides run the same 384 circuits of 3 to 7 qubits, on one Aer thread, and end with every shot of
every circuit in this process. The gateway's time includes writing QPY, the wire, the database, and
loading in the worker. Its worker is warm; the circuits are new to it every time.
"""

from __future__ import annotations

import asyncio
import gc
import os
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import grpc
import numpy as np
from qiskit import QuantumCircuit
from qiskit_aer import AerSimulator
from qiskit_aer.primitives import SamplerV2

from kubeqpu.proto.v1 import gateway_pb2, gateway_pb2_grpc
from tests.benchmarks.gateway_circuits import (
    SHOTS,
    make_template,
    make_unique,
    template_spec,
    unique_spec,
)
from tests.benchmarks.report import Raw, Report

CIRCUITS = 384
TEMPLATES = 12
REPEATS = 11
SMALL_JOBS = 300
ENQUEUED_JOBS = 40
ENQUEUED_CIRCUITS = 100

if TYPE_CHECKING:
    Stub: TypeAlias = gateway_pb2_grpc.GatewayAsyncStub


def make_simulator(threads: int = 1) -> AerSimulator:
    """Makes bare Aer with as many threads as workers take part."""
    return AerSimulator(
        max_parallel_threads=threads,
        max_parallel_experiments=threads,
        max_parallel_shots=1,
        seed_simulator=1,
    )


def run_bare(circuits: Sequence[QuantumCircuit], threads: int = 1) -> float:
    """Runs circuits on bare Aer, every shot kept; returns seconds."""
    simulator = make_simulator(threads)
    start = time.perf_counter()
    result = simulator.run(list(circuits), shots=SHOTS, memory=True).result()
    memories = [result.data(index)["memory"] for index in range(len(circuits))]
    seconds = time.perf_counter() - start
    assert sum(len(memory) for memory in memories) == SHOTS * len(circuits)
    return seconds


def run_bare_templates(templates: Sequence[QuantumCircuit], values: Sequence[np.ndarray]) -> float:
    """Runs templates with all their parameter values on bare Aer; returns seconds."""
    simulator = make_simulator()
    start = time.perf_counter()
    binds = [
        {parameter: rows[:, index].tolist() for index, parameter in enumerate(template.parameters)}
        for template, rows in zip(templates, values, strict=True)
    ]
    result = simulator.run(
        list(templates), shots=SHOTS, memory=True, parameter_binds=binds
    ).result()
    memories = [result.data(index)["memory"] for index in range(len(result.results))]
    seconds = time.perf_counter() - start
    assert sum(len(memory) for memory in memories) == SHOTS * sum(len(rows) for rows in values)
    return seconds


def run_sampler(circuits: Sequence[QuantumCircuit]) -> float:
    """Runs circuits through Aer's own SamplerV2; returns seconds."""
    options = {"backend_options": {"max_parallel_threads": 1, "max_parallel_experiments": 1}}
    sampler = SamplerV2(default_shots=SHOTS, seed=1, options=options)
    start = time.perf_counter()
    result = sampler.run(list(circuits)).result()
    seconds = time.perf_counter() - start
    assert len(result) == len(circuits)
    return seconds


@asynccontextmanager
async def serve(slots: int) -> AsyncIterator[Stub]:
    """Serves a gateway with one ideal simulator in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="kubeqpu-bench-") as directory:
        folder = Path(directory)
        config = folder / "gateway.yaml"
        config.write_text(
            f"qpus:\n- {{name: sim, provider: aer, slots: {slots}}}\n"
            "- {name: away, provider: fake, options: {backend: FakeLagosV2, outage: maintenance}}\n"
        )
        address = f"unix:{folder / 'gateway.sock'}"
        command = [sys.executable, "-m", "kubeqpu.qpu_gateway", "--config", str(config)]
        command += ["--listen", address, "--data-dir", str(folder), "--metrics-port", "0"]
        process = subprocess.Popen([*command, "--log-level", "warning"])  # noqa: ASYNC220
        try:
            limit = [("grpc.max_receive_message_length", 2**28)]
            async with grpc.aio.insecure_channel(address, limit) as channel:
                stub: Stub = gateway_pb2_grpc.GatewayStub(channel)
                await stub.ListQPUs(gateway_pb2.ListQPUsRequest(), wait_for_ready=True, timeout=60)
                yield stub
        finally:
            process.terminate()
            process.wait(30)


async def submit(stub: Stub, spec: gateway_pb2.JobSpec) -> gateway_pb2.Job:
    """Submits a job under a new key."""
    request = gateway_pb2.SubmitJobRequest(idempotency_key=uuid.uuid4().hex, spec=spec)
    return await stub.SubmitJob(request)


async def run_through(stub: Stub, make_spec: Callable[[], gateway_pb2.JobSpec]) -> float:
    """Runs a job through the gateway until its last result is here; returns seconds."""
    start = time.perf_counter()
    job = await submit(stub, make_spec())
    rows = 0
    async for event in stub.StreamResults(gateway_pb2.StreamResultsRequest(id=job.id)):
        if event.HasField("chunk"):
            rows += event.chunk.rows
        else:
            job = event.job
    seconds = time.perf_counter() - start
    assert job.state == gateway_pb2.JOB_STATE_SUCCEEDED, job.message
    assert rows == job.circuits
    return seconds


async def measure_submit(stub: Stub, qpu: str, known: bool) -> list[float]:
    """Submits small jobs one by one; returns milliseconds until each was acknowledged.

    Args:
        stub: The gateway.
        qpu: `away` for a QPU that computes elsewhere, as a real one does, and has a queue; `sim`
            for the simulator of this machine, whose work on each job is waited for, untimed: what
            the gateway and its loader have in the processor's caches is gone then.
        known: Whether all jobs have the same circuit with new parameter values, as in a variational
            loop; else every circuit is new to the gateway.
    """
    generator = np.random.default_rng(20261123)
    circuit = make_template(3, 1, "a")
    times: list[float] = []
    jobs: list[gateway_pb2.Job] = []
    for _ in range(SMALL_JOBS):
        values = generator.uniform(0, 2 * np.pi, (1, circuit.num_parameters))
        new = None if known else circuit.assign_parameters(values[0])
        spec = template_spec([circuit], [values]) if new is None else unique_spec([new])
        direct(spec, qpu)
        start = time.perf_counter()
        jobs.append(await submit(stub, spec))
        times.append((time.perf_counter() - start) * 1e3)
        if qpu == "sim":
            request = gateway_pb2.StreamResultsRequest(id=jobs[-1].id)
            async for _event in stub.StreamResults(request):
                pass
    await cancel(stub, jobs)
    return times


def direct(spec: gateway_pb2.JobSpec, qpu: str) -> None:
    """Names the QPU of a job; one with a coupling map gets circuits to transpile."""
    spec.qpu = qpu
    if qpu == "away":
        spec.options.transpile_level = 1


async def cancel(stub: Stub, jobs: Sequence[gateway_pb2.Job]) -> None:
    """Cancels what is still queued."""
    for job in jobs:
        await stub.CancelJob(gateway_pb2.CancelJobRequest(id=job.id))


async def measure_enqueue(stub: Stub, generator: np.random.Generator, qpu: str) -> float:
    """Enqueues jobs of unique circuits, four at a time; returns circuits per second.

    Args:
        stub: The gateway.
        generator: Source of the circuits' angles.
        qpu: Where they wait: `away` takes nothing yet, as a QPU with a queue does; `sim` computes
            meanwhile, on the same processors.
    """
    specs = [unique_spec(make_unique(ENQUEUED_CIRCUITS, generator)) for _ in range(ENQUEUED_JOBS)]
    for spec in specs:
        direct(spec, qpu)
    waiting = iter(specs)
    jobs: list[gateway_pb2.Job] = []

    async def keep_submitting() -> None:
        for spec in waiting:
            job = await submit(stub, spec)
            jobs.append(job)

    start = time.perf_counter()
    await asyncio.gather(*(keep_submitting() for _ in range(4)))
    seconds = time.perf_counter() - start
    await cancel(stub, jobs)
    return ENQUEUED_JOBS * ENQUEUED_CIRCUITS / seconds


async def _measure() -> tuple[dict[str, list[float]], dict[str, float]]:
    generator = np.random.default_rng(20261123)
    rows = CIRCUITS // TEMPLATES
    templates = [make_template(3 + i % 5, 2 + i % 3, f"t{i}") for i in range(TEMPLATES)]
    seconds: dict[str, list[float]] = {}
    rates: dict[str, float] = {}

    def note(name: str, value: float) -> None:
        seconds.setdefault(name, []).append(value)

    async with serve(1) as one, serve(2) as two:
        warm = make_unique(CIRCUITS, generator)
        for stub in (one, two):
            await run_through(stub, partial(unique_spec, warm))
        run_bare(warm)
        for _ in range(REPEATS):
            circuits = make_unique(CIRCUITS, generator)
            values = [
                generator.uniform(0, 2 * np.pi, (rows, template.num_parameters))
                for template in templates
            ]
            note("bare", run_bare(circuits))
            note("bare_two_threads", run_bare(circuits, 2))
            note("sampler_v2", run_sampler(circuits))
            note("gateway", await run_through(one, partial(unique_spec, circuits)))
            note("gateway_two_workers", await run_through(two, partial(unique_spec, circuits)))
            note("bare_templates", run_bare_templates(templates, values))
            note(
                "gateway_templates",
                await run_through(one, partial(template_spec, templates, values)),
            )
        # What is timed next is the gateway, not this process looking for garbage of the above.
        gc.collect()
        gc.freeze()
        for name, qpu in (("submit", "away"), ("submit_after_simulation", "sim")):
            seconds[f"{name}_ms"] = await measure_submit(one, qpu, known=False)
            seconds[f"{name}_known_ms"] = await measure_submit(one, qpu, known=True)
        for name, qpu in (("enqueue", "away"), ("enqueue_while_running", "sim")):
            samples = [await measure_enqueue(one, generator, qpu) for _ in range(REPEATS)]
            rates[f"{name}_circuits_per_second"] = statistics.median(samples)
    return seconds, rates


def run() -> Report:
    """Measures the gateway on this machine; takes about two minutes."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    seconds, rates = asyncio.run(_measure())
    median = {name: statistics.median(values) for name, values in seconds.items()}
    figures = {
        "worker_ratio": median["bare"] / median["gateway"],
        "worker_ratio_templates": median["bare_templates"] / median["gateway_templates"],
        "two_worker_ratio": median["bare"] / median["gateway_two_workers"],
        "worker_ratio_against_sampler_v2": median["sampler_v2"] / median["gateway"],
        "submit_p50_ms": median["submit_ms"],
        "submit_known_circuits_p50_ms": median["submit_known_ms"],
        "submit_after_simulation_p50_ms": median["submit_after_simulation_ms"],
        **rates,
    }
    conditions = {
        "circuits": f"{CIRCUITS} of 3 to 7 qubits, {SHOTS} shots, every shot returned",
        "baseline": "AerSimulator.run(memory=True), one thread, one call with all circuits",
        "templates": f"{TEMPLATES} templates of {CIRCUITS // TEMPLATES} rows; baseline with "
        "parameter_binds",
        "gateway": "QPY written, submitted, stored, run in one worker, streamed, all included",
        "two_worker_ratio": "two workers against bare Aer on one thread",
        "submit": f"{SMALL_JOBS} jobs of one 3-qubit circuit, one after another, for a QPU "
        "elsewhere; every circuit new to the gateway, or known with new parameter values",
        "submit_after_simulation": "the same for the local simulator, each after the last ended",
        "enqueue": f"{ENQUEUED_JOBS} jobs of {ENQUEUED_CIRCUITS} unique circuits, four callers; "
        "the QPU takes nothing yet, or (while_running) a worker computes on the same processors",
        "repeats": f"median of {REPEATS}",
    }
    raw: dict[str, Raw] = {name: [float(v) for v in values] for name, values in seconds.items()}
    return Report(figures, conditions, raw)
