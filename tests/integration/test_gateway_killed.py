"""The gateway is killed with SIGKILL again and again, and loses and repeats nothing."""

from __future__ import annotations

import asyncio
import functools
import random
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter

from kubeqpu.proto.v1 import gateway_pb2
from tests.integration.gateway_support import connect, dump, parameters, request

KILLS = 50
ROWS = 8000
UNIQUE = 200


@functools.cache
def many_rows() -> gateway_pb2.JobSpec:
    """Makes a job of one long and many short entries, the same bytes every time."""
    template = QuantumCircuit(3, 3)
    for qubit in range(3):
        template.ry(Parameter(f"a{qubit}"), qubit)
    template.cx(0, 1)
    template.cx(1, 2)
    template.measure(range(3), range(3))
    values = np.random.default_rng(3).uniform(0, np.pi, (ROWS + UNIQUE, 3))
    spec = gateway_pb2.JobSpec(qpu="sim", circuits=dump(template), seed=11)
    spec.sampler.format = gateway_pb2.RESULT_FORMAT_BITS
    spec.sampler.entries.add(parameters=parameters(values[:ROWS].tolist()), shots=[50])
    for row in values[ROWS:].tolist():
        spec.sampler.entries.add(parameters=parameters([row]), shots=[50])
    return spec


class Process:
    """A gateway in a process of its own, which can be started again over the same data."""

    def __init__(self, folder: Path) -> None:
        self.address = f"unix:{folder / 'gateway.sock'}"
        self._folder = folder
        self._process: asyncio.subprocess.Process | None = None
        folder.mkdir(exist_ok=True)
        config = folder / "gateway.yaml"
        # Short batches: a kill must have something to interrupt.
        config.write_text("qpus: [{name: sim, provider: aer, slots: 2}]\nbatch_seconds: 0.02\n")

    async def start(self) -> None:
        command = [sys.executable, "-m", "kubeqpu.qpu_gateway", "--listen", self.address]
        command += ["--config", str(self._folder / "gateway.yaml")]
        command += ["--data-dir", str(self._folder / "data"), "--metrics-port", "0"]
        with (self._folder / "gateway.log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(*command, stderr=log)

    async def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        assert await self._process.wait() == -signal.SIGKILL

    async def terminate(self) -> int:
        assert self._process is not None
        self._process.terminate()
        return await self._process.wait()

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.returncode is None


@asynccontextmanager
async def run_gateway(folder: Path) -> AsyncIterator[Process]:
    process = Process(folder)
    await process.start()
    try:
        yield process
    finally:
        if process.running:
            await process.kill()


def cells(chunk: gateway_pb2.ResultChunk) -> dict[tuple[int, int], bytes]:
    """Takes a chunk of bits apart into rows."""
    (register,) = chunk.bits.registers
    width = len(register.data) // chunk.rows
    return {
        (chunk.entry, chunk.first_row + index): register.data[index * width : (index + 1) * width]
        for index in range(chunk.rows)
    }


async def read_all(address: str, job_id: str) -> tuple[dict[tuple[int, int], bytes], str]:
    found: dict[tuple[int, int], bytes] = {}
    async with connect(address) as stub:
        wanted = gateway_pb2.StreamResultsRequest(id=job_id)
        async for event in stub.StreamResults(wanted, wait_for_ready=True, timeout=60):
            if event.HasField("job"):
                return found, gateway_pb2.JobState.Name(event.job.state)
            rows = cells(event.chunk)
            assert not rows.keys() & found.keys(), "a row came twice"
            found |= rows
    raise AssertionError("the stream ended without the final job")


def read_stored(folder: Path, job_id: str) -> dict[tuple[int, int, int], bytes]:
    """Reads what is stored of a job, by (entry, first row, rows), while no gateway runs."""
    connection = sqlite3.connect(folder / "data" / "gateway.db")
    try:
        query = "SELECT entry, first_row, rows, data FROM chunks WHERE job_id = ?"
        rows = connection.execute(query, (job_id,)).fetchall()
    finally:
        connection.close()
    found = {(entry, first, count): data for entry, first, count, data in rows}
    covered = [(e, first + i) for e, first, count in found for i in range(count)]
    assert len(found) == len(rows)
    assert len(covered) == len(set(covered)), "a row is stored twice"
    return found


class KilledGateway:
    """A gateway that is killed at random times, always in the middle of some job."""

    def __init__(self, process: Process, folder: Path, seed: int) -> None:
        self._process = process
        self._folder = folder
        self._random = random.Random(seed)
        self.jobs: list[str] = []
        self.interrupted = 0

    async def submit(self, number: int) -> str:
        """Submits the job of this number; if it was submitted before, it is the same."""
        async with connect(self._process.address) as stub:
            job = await stub.SubmitJob(
                request(f"job-{number}", many_rows()), wait_for_ready=True, timeout=60
            )
        return job.id

    async def be_killed(self, times: int) -> None:
        self.jobs.append(await self.submit(0))
        before: dict[tuple[int, int, int], bytes] = {}
        for _ in range(times):
            await self._wait_for_the_moment()
            await self._process.kill()
            now = read_stored(self._folder, self.jobs[-1])
            assert before.items() <= now.items(), "something stored was changed or lost"
            done = sum(rows for _, _, rows in now)
            self.interrupted += 0 < done < ROWS + UNIQUE
            before = now
            await self._process.start()
            assert await self.submit(len(self.jobs) - 1) == self.jobs[-1]
            if done == ROWS + UNIQUE:
                self.jobs.append(await self.submit(len(self.jobs)))
                before = {}

    async def _wait_for_the_moment(self) -> None:
        """Waits for any time at all, or until just after results begin to come."""
        if self._random.random() < 0.5:
            await asyncio.sleep(self._random.uniform(0.0, 0.8))
            return
        async with connect(self._process.address) as stub:
            wanted = gateway_pb2.GetJobRequest(id=self.jobs[-1])
            start = (await stub.GetJob(wanted)).circuits_finished
            while (job := await stub.GetJob(wanted)).circuits_finished == start:
                if job.state == gateway_pb2.JOB_STATE_SUCCEEDED:
                    break
                await asyncio.sleep(0.03)
        await asyncio.sleep(self._random.uniform(0.0, 0.2))


@pytest.mark.slow
@pytest.mark.timeout(400)
async def test_fifty_kills_change_no_value_and_lose_nothing(tmp_path: Path) -> None:
    async with run_gateway(tmp_path / "calm") as calm:
        undisturbed = KilledGateway(calm, tmp_path / "calm", seed=0)
        wanted = await read_all(calm.address, await undisturbed.submit(0))
        assert wanted[1] == "JOB_STATE_SUCCEEDED"
        assert len(wanted[0]) == ROWS + UNIQUE
        assert await calm.terminate() == 0
    folders = [tmp_path / "left", tmp_path / "right"]
    async with run_gateway(folders[0]) as left, run_gateway(folders[1]) as right:
        processes = [left, right]
        killed = [
            KilledGateway(p, f, s) for s, (p, f) in enumerate(zip(processes, folders, strict=True))
        ]
        await asyncio.gather(*(gateway.be_killed(KILLS // 2) for gateway in killed))
        for process, gateway in zip(processes, killed, strict=True):
            for job_id in gateway.jobs:
                assert await read_all(process.address, job_id) == wanted
            assert await process.terminate() == 0
    interrupted = sum(gateway.interrupted for gateway in killed)
    assert interrupted >= KILLS // 3, "too few kills hit a job in its middle"
