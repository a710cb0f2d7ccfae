"""A gateway on PostgreSQL, either of which is killed again and again, loses and repeats nothing."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import grpc
import psycopg
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter

from kubeqpu.proto.v1 import gateway_pb2
from tests.integration.gateway_support import connect, dump, parameters, request
from tests.support.gateway import GatewayProcess
from tests.support.postgresql import PASSWORD, PostgreSQL

if TYPE_CHECKING:
    from tests.integration.gateway_support import Stub

ROWS = 500
KILLS = 5
T = TypeVar("T")

AER = [{"name": "sim", "provider": "aer", "slots": 2}]


@pytest.fixture
def url_file(postgresql: PostgreSQL, tmp_path: Path) -> Path:
    path = tmp_path / "url"
    path.write_text(postgresql.make_database())
    return path


@pytest.fixture
def process(tmp_path: Path, url_file: Path) -> Iterator[GatewayProcess]:
    """A gateway that makes short batches: a kill must have something to interrupt."""
    settings = {
        "database_url_file": str(url_file),
        "batch_seconds": 0.02,
        "limits": {"max_tenant_blob_bytes": 2**32},
    }
    with GatewayProcess(tmp_path, AER, settings) as found:
        yield found
        # Nothing of the secret is in the log, whatever went wrong.
        assert PASSWORD not in found.log.read_text()


@functools.cache
def make_spec() -> gateway_pb2.JobSpec:
    """Makes a job, the same bytes every time."""
    template = QuantumCircuit(2, 2)
    template.ry(Parameter("a"), 0)
    template.cx(0, 1)
    template.measure(range(2), range(2))
    spec = gateway_pb2.JobSpec(qpu="sim", circuits=dump(template), seed=11)
    spec.sampler.format = gateway_pb2.RESULT_FORMAT_BITS
    values = [[row / ROWS] for row in range(ROWS)]
    spec.sampler.entries.add(parameters=parameters(values), shots=[20])
    return spec


async def insist(call: Callable[[], Awaitable[T]]) -> T:
    """Calls until the gateway is available, as clients do."""
    async with asyncio.timeout(30):
        while True:
            try:
                return await call()
            except grpc.aio.AioRpcError as error:
                if error.code() != grpc.StatusCode.UNAVAILABLE:
                    raise
                await asyncio.sleep(0.05)


async def submit(stub: Stub, key: str) -> gateway_pb2.Job:
    """Submits until it is acknowledged."""
    return await insist(lambda: stub.SubmitJob(request(key, make_spec()), wait_for_ready=True))


async def collect(stub: Stub, job_id: str) -> dict[int, bytes]:
    """Streams a job's results until it has succeeded, over as many connections as that takes."""
    async with asyncio.timeout(60):
        while True:
            found: dict[int, bytes] = {}
            wanted = gateway_pb2.StreamResultsRequest(id=job_id)
            try:
                async for event in stub.StreamResults(wanted, wait_for_ready=True):
                    if event.HasField("job"):
                        assert event.job.state == gateway_pb2.JOB_STATE_SUCCEEDED, event.job
                        return found
                    add_rows(found, event.chunk)
            except grpc.aio.AioRpcError as error:
                if error.code() != grpc.StatusCode.UNAVAILABLE:
                    raise
                await asyncio.sleep(0.05)


def add_rows(found: dict[int, bytes], chunk: gateway_pb2.ResultChunk) -> None:
    (register,) = chunk.bits.registers
    width = len(register.data) // chunk.rows
    for index in range(chunk.rows):
        row = chunk.first_row + index
        assert row not in found, "a row came twice"
        found[row] = register.data[index * width : (index + 1) * width]


@pytest.mark.slow
@pytest.mark.timeout(150)
async def test_kills_in_the_middle_lose_nothing_that_was_acknowledged(
    postgresql: PostgreSQL, process: GatewayProcess
) -> None:
    acknowledged: dict[str, str] = {}
    digests: list[str] = []
    done = asyncio.Event()

    async def keep_submitting(stub: Stub) -> None:
        while not done.is_set():
            key = str(len(acknowledged))
            acknowledged[key] = (await submit(stub, key)).id
            await asyncio.sleep(0.1)

    async def keep_putting(stub: Stub) -> None:
        # Large ones: the database is in the middle of one at nearly any time.
        while not done.is_set():
            put = gateway_pb2.PutBlobRequest(data=os.urandom(300_000))
            answer = await insist(functools.partial(stub.PutBlob, put, wait_for_ready=True))
            digests.append(answer.digest)

    async with connect(process.address) as stub:
        wanted = await collect(stub, (await submit(stub, "calm")).id)
        assert len(wanted) == ROWS
        tasks = [asyncio.create_task(keep(stub)) for keep in (keep_submitting, keep_putting)]
        chance = random.Random(5)
        for _ in range(KILLS):
            await asyncio.sleep(chance.uniform(0.2, 0.6))
            await asyncio.to_thread(postgresql.kill)
            await asyncio.sleep(chance.uniform(0.0, 0.3))
            await asyncio.to_thread(postgresql.start)
            await asyncio.sleep(chance.uniform(0.2, 0.6))
            await asyncio.to_thread(process.kill)
            await asyncio.to_thread(process.start)
        done.set()
        await asyncio.gather(*tasks)
        assert min(len(acknowledged), len(digests)) > KILLS
        for key, job_id in acknowledged.items():
            assert (await submit(stub, key)).id == job_id
            assert await collect(stub, job_id) == wanted
        for digest in digests:
            found = await stub.GetBlob(gateway_pb2.GetBlobRequest(digest=digest))
            assert digest == f"sha256:{hashlib.sha256(found.data).hexdigest()}"
        listed = await stub.ListJobs(gateway_pb2.ListJobsRequest(page_size=1000))
        assert {job.idempotency_key for job in listed.jobs} == {"calm", *acknowledged}


async def test_calls_are_refused_with_a_sentence_while_the_database_is_away(
    postgresql: PostgreSQL, process: GatewayProcess
) -> None:
    async with connect(process.address) as stub:
        job = await submit(stub, "before")
        await collect(stub, job.id)
        postgresql.kill()
        try:
            for call in (
                stub.SubmitJob(request("during", make_spec())),
                stub.GetJob(gateway_pb2.GetJobRequest(id=job.id)),
                stub.PutBlob(gateway_pb2.PutBlobRequest(data=b"x")),
            ):
                with pytest.raises(grpc.aio.AioRpcError) as refused:
                    await call
                assert refused.value.code() == grpc.StatusCode.UNAVAILABLE
                assert "database is away" in str(refused.value.details())
        finally:
            postgresql.start()
        assert len(await collect(stub, (await submit(stub, "during")).id)) == ROWS
        assert (await submit(stub, "before")).id == job.id


@contextmanager
def start_alone(
    folder: Path, url: str, health: str = "", *flags: str
) -> Iterator[subprocess.Popen[str]]:
    """Starts a gateway without waiting until it serves."""
    (folder / "url").write_text(url)
    (folder / "gateway.yaml").write_text("qpus: [{name: sim, provider: aer}]\n")
    command = [sys.executable, "-m", "kubeqpu.qpu_gateway", "--metrics-port", "0"]
    command += ["--config", str(folder / "gateway.yaml"), "--listen", f"unix:{folder}/sock"]
    command += ["--database-url-file", str(folder / "url")]
    command += ["--health-listen", health] if health else []
    with subprocess.Popen([*command, *flags], stderr=subprocess.PIPE, text=True) as alone:
        try:
            yield alone
        finally:
            alone.kill()


def test_a_wrong_url_ends_the_gateway_with_one_sentence(tmp_path: Path) -> None:
    with start_alone(tmp_path, f"mysql://kubeqpu:{PASSWORD}@db/kubeqpu") as alone:
        _, said = alone.communicate(timeout=60)
    assert alone.returncode == 2
    assert re.fullmatch(r"The URL in \S+ is not PostgreSQL's: expected postgresql://.*\.\n", said)
    assert PASSWORD not in said


def check_health(address: str) -> health_pb2.HealthCheckResponse.ServingStatus | None:
    with grpc.insecure_channel(address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        try:
            answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=1.0)
        except grpc.RpcError:
            return None
        status: health_pb2.HealthCheckResponse.ServingStatus = answer.status
        return status


def wait_for_health(address: str, wanted: health_pb2.HealthCheckResponse.ServingStatus) -> None:
    deadline = time.monotonic() + 30
    while check_health(address) != wanted:
        assert time.monotonic() < deadline, f"health is {check_health(address)}"
        time.sleep(0.05)


@pytest.mark.parametrize("comes", [True, False], ids=["comes", "stays away"])
def test_a_database_that_is_away_at_the_start_is_waited_for(
    postgresql: PostgreSQL, tmp_path: Path, comes: bool
) -> None:
    url = postgresql.make_database()
    health = f"127.0.0.1:{postgresql.port + 1}"
    postgresql.stop()
    with start_alone(tmp_path, url, health) as alone:
        try:
            wait_for_health(health, health_pb2.HealthCheckResponse.NOT_SERVING)
            time.sleep(0.5)
            assert check_health(health) == health_pb2.HealthCheckResponse.NOT_SERVING
            if not comes:
                alone.send_signal(signal.SIGTERM)
                _, said = alone.communicate(timeout=20)
        finally:
            postgresql.start()
        if comes:
            wait_for_health(health, health_pb2.HealthCheckResponse.SERVING)
            alone.send_signal(signal.SIGTERM)
            _, said = alone.communicate(timeout=20)
    assert alone.returncode == 0
    assert "Database was not available" in said
    assert PASSWORD not in said


def test_a_gateway_whose_database_was_taken_over_ends(
    postgresql: PostgreSQL, tmp_path: Path
) -> None:
    url = postgresql.make_database()
    health = f"127.0.0.1:{postgresql.port + 1}"
    with start_alone(tmp_path, url, health, "--sweep-interval-seconds", "0.1") as alone:
        wait_for_health(health, health_pb2.HealthCheckResponse.SERVING)
        held = "FROM pg_locks WHERE locktype = 'advisory' AND granted"
        (key,) = postgresql.execute(f"SELECT classid::int, objid::int {held}", url)
        with psycopg.connect(url, autocommit=True) as other, ThreadPoolExecutor(1) as thread:
            # Queued for the lock, so that it gets it before the gateway is back.
            waiting = thread.submit(other.execute, "SELECT pg_advisory_lock(%s, %s)", key)
            while not postgresql.execute("SELECT 1 FROM pg_locks WHERE NOT granted", url):
                time.sleep(0.01)
            postgresql.execute(f"SELECT pg_terminate_backend(pid) {held}", url)
            waiting.result(10)
            other.execute("DELETE FROM kubeqpu_default.writers")
        _, said = alone.communicate(timeout=30)
    assert alone.returncode == 2
    assert said.endswith("Another gateway took the database over; run one process per gateway.\n")
