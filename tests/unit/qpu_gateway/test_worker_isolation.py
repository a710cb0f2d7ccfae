"""A worker's trouble is its own batch's trouble, and no process serves two tenants."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator

import psutil
import pytest
from pydantic import JsonValue
from qiskit import QuantumCircuit

from kubeqpu.proto.v1 import gateway_pb2
from kubeqpu.qpu_gateway.errors import CircuitError, WorkerError
from kubeqpu.qpu_gateway.providers.base import Batch, Span
from kubeqpu.qpu_gateway.workers import WorkerLimits, WorkerPool
from tests.support.simulation import IDEAL, dump, sampler_spec

BELL = QuantumCircuit(2, 2)
BELL.h(0)
BELL.cx(0, 1)
BELL.measure([0, 1], [0, 1])


def endless_circuit() -> QuantumCircuit:
    """A circuit that Aer runs shot by shot, for minutes."""
    circuit = QuantumCircuit(16, 16)
    for _ in range(20):
        circuit.h(range(16))
        circuit.reset(range(16))
    with circuit.if_test((circuit.clbits[0], 0)):
        circuit.x(0)
    circuit.measure(range(16), range(16))
    return circuit


def batch(
    circuit: QuantumCircuit, tenant: str = "team-a", job: str = "1", shots: int = 100
) -> Batch:
    return Batch(job, tenant, sampler_spec(circuit, shots=[shots]), (Span(0, 0, 1),))


async def results(pool: WorkerPool, work: Batch) -> list[gateway_pb2.ResultChunk]:
    return [chunk async for chunk in pool.run(work, IDEAL, "ideal")]


async def started_pid(pool: WorkerPool, role: str = "run") -> int:
    """Waits until a worker runs and uses the processor."""
    for _ in range(500):
        for info in pool.processes:
            if info.role == role and psutil.Process(info.pid).cpu_times().user > 0.2:
                return info.pid
        await asyncio.sleep(0.02)
    raise AssertionError("no worker became busy")


@contextlib.asynccontextmanager
async def running_pool(limits: WorkerLimits | None = None) -> AsyncIterator[WorkerPool]:
    pool = WorkerPool(limits)
    await pool.start()
    try:
        yield pool
    finally:
        await pool.close()


async def test_tenants_never_share_a_process() -> None:
    async with running_pool() as pool:
        for _ in range(2):
            for tenant in ("team-a", "team-b"):
                await results(pool, batch(BELL, tenant, f"{tenant}-1"))
                await pool.inspect(tenant, dump(BELL))
        pids = {(info.tenant, info.role): info.pid for info in pool.processes}
        assert set(pids) == {
            (tenant, role) for tenant in ("team-a", "team-b") for role in ("run", "inspect")
        }
        assert len(set(pids.values())) == 4


async def test_a_full_pool_ends_the_longest_idle_worker_of_another_tenant() -> None:
    async with running_pool(WorkerLimits(max_workers=1)) as pool:
        await results(pool, batch(BELL, "team-a", "a"))
        (first,) = pool.processes
        await results(pool, batch(BELL, "team-b", "b"))
        (second,) = pool.processes
        assert (first.tenant, second.tenant) == ("team-a", "team-b")
        assert first.pid != second.pid
        await wait_for_end(first.pid)


async def test_idle_workers_end() -> None:
    async with running_pool(WorkerLimits(idle_seconds=0.2)) as pool:
        await results(pool, batch(BELL))
        (worker,) = pool.processes
        await wait_for_end(worker.pid)
        assert pool.processes == ()
        assert await results(pool, batch(BELL))


async def test_a_killed_worker_fails_its_own_batch_only() -> None:
    async with running_pool() as pool:
        doomed = asyncio.create_task(results(pool, batch(endless_circuit(), shots=10**6)))
        os.kill(await started_pid(pool), signal.SIGKILL)
        assert await results(pool, batch(BELL, "team-b", "2"))
        with pytest.raises(WorkerError, match=r"signal 9 \(SIGKILL\)"):
            await doomed
        assert await results(pool, batch(BELL, job="3"))


async def test_a_batch_beyond_its_time_is_ended() -> None:
    async with running_pool(WorkerLimits(run_seconds=1)) as pool:
        with pytest.raises(WorkerError, match="longer than 1 s"):
            await results(pool, batch(endless_circuit(), shots=10**6))
        assert pool.processes == ()
        assert await results(pool, batch(BELL, job="2"))


async def test_a_circuit_beyond_the_memory_limit_fails_alone() -> None:
    wide = QuantumCircuit(29, 2)
    wide.h(0)
    wide.cx(range(28), range(1, 29))
    wide.measure([0, 28], [0, 1])
    engine: dict[str, JsonValue] = {"qpu": "ideal", "num_qubits": 40, "max_statevector_qubits": 40}
    async with running_pool(WorkerLimits(memory_bytes=512 * 2**20)) as pool:
        work = pool.run(batch(wide), {"kind": "ideal", "settings": engine}, "wide")
        with pytest.raises(WorkerError, match=r"more memory than .* \(0.5 GiB\)"):
            [chunk async for chunk in work]
        assert await results(pool, batch(BELL, job="2"))


async def test_leaving_the_results_ends_the_work() -> None:
    async with running_pool() as pool:
        task = asyncio.create_task(results(pool, batch(endless_circuit(), shots=10**6)))
        pid = await started_pid(pool)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await wait_for_end(pid)


async def test_refused_circuits_keep_the_worker() -> None:
    async with running_pool() as pool:
        await pool.inspect("team-a", dump(BELL))
        (before,) = pool.processes
        with pytest.raises(CircuitError):
            await pool.inspect("team-a", b"not a circuit")
        assert await pool.inspect("team-a", dump(BELL))
        assert pool.processes == (before,)


async def test_the_pool_comes_back_when_the_forking_process_is_killed() -> None:
    async with running_pool() as pool:
        await results(pool, batch(BELL))
        (worker,) = pool.processes
        os.kill(psutil.Process(worker.pid).ppid(), signal.SIGKILL)
        await wait_for_end(worker.pid)
        assert await results(pool, batch(BELL, job="2"))


ORPHANS = """
import asyncio, sys
from kubeqpu.qpu_gateway.workers import WorkerPool
from tests.unit.qpu_gateway.test_worker_isolation import *

async def main():
    pool = WorkerPool()
    await pool.start()
    work = asyncio.create_task(results(pool, batch(endless_circuit(), shots=10**6)))
    pid = await started_pid(pool)
    print(pid, psutil.Process(pid).ppid(), flush=True)
    await work

asyncio.run(main())
"""


async def test_workers_die_with_the_gateway() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", ORPHANS, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    worker, parent = map(int, (await process.stdout.readline()).split())
    assert psutil.pid_exists(worker)
    process.kill()
    await process.wait()
    await wait_for_end(worker)
    await wait_for_end(parent)


async def wait_for_end(pid: int, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(psutil.NoSuchProcess):
            if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                await asyncio.sleep(0.02)
                continue
        return
    raise AssertionError(f"process {pid} is still there")
