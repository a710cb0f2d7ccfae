"""A full disk refuses with a sentence, leaves nothing half-written, and is survived."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from kubeqpu.proto.v1 import gateway_pb2
from tests.integration.gateway_support import (
    Coins,
    coin_circuit,
    coin_spec,
    collect,
    dump,
    expected,
    make_settings,
    request,
    serve,
)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)],
        check=False,
        capture_output=True,
    )
    if mount.returncode != 0:
        pytest.skip(f"this machine mounts no small disk: {mount.stderr.decode().strip()}")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def padded(key: str) -> gateway_pb2.SubmitJobRequest:
    """Makes a coin job that takes 100 kB more than it needs."""
    circuit = coin_circuit()
    circuit.metadata = {"padding": "x" * 100_000}
    return request(key, coin_spec([[1.0]], circuits=dump(circuit)))


async def test_a_full_disk_is_refused_and_survived(small_disk: Path, tmp_path: Path) -> None:
    coins = Coins(lambda provider: provider.available.clear())
    settings = make_settings(tmp_path, data_dir=small_disk / "data")
    async with serve(settings, coins) as (_, stub):
        kept = []
        refused = None
        for number in range(100):
            try:
                kept.append(await stub.SubmitJob(padded(f"job-{number}")))
            except grpc.aio.AioRpcError as error:
                refused = error
                break
        assert refused is not None
        assert kept
        assert refused.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "disk is full" in str(refused.details())
        # Nothing of the refused job is there, and everything acknowledged is.
        listed = await stub.ListJobs(gateway_pb2.ListJobsRequest())
        assert {job.id for job in listed.jobs} == {job.id for job in kept}

    # More space, as an operator would make it.
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)  # noqa: ASYNC221
    coins = Coins()
    async with serve(settings, coins) as (_, stub):
        again = await stub.SubmitJob(padded(f"job-{len(kept)}"))
        results, final = await collect(stub, again.id)
        assert final.state == gateway_pb2.JOB_STATE_SUCCEEDED
        assert results == expected(coin_spec([[1.0]]))


async def test_results_wait_for_space_and_nothing_is_lost(small_disk: Path, tmp_path: Path) -> None:
    coins = Coins()
    settings = make_settings(tmp_path, data_dir=small_disk / "data")
    spec = coin_spec([[1.0] * 40])
    async with serve(settings, coins) as (_, stub):
        provider = coins.by_name["coin"]
        provider.available.clear()
        job = await stub.SubmitJob(request("key", spec))
        free = os.statvfs(small_disk)
        (small_disk / "ballast").write_bytes(b"\0" * (free.f_bavail * free.f_frsize))
        provider.available.set()
        await asyncio.sleep(1.0)
        state = await stub.GetJob(gateway_pb2.GetJobRequest(id=job.id))
        assert state.circuits_finished < 40
        assert state.state in (gateway_pb2.JOB_STATE_QUEUED, gateway_pb2.JOB_STATE_RUNNING)
        (small_disk / "ballast").unlink()
        results, final = await collect(stub, job.id)
        assert final.state == gateway_pb2.JOB_STATE_SUCCEEDED
        assert results == expected(spec)


async def test_the_database_keeps_its_own_limit_and_expiry_makes_room(tmp_path: Path) -> None:
    settings = make_settings(
        tmp_path, limits={"max_database_bytes": 2**20}, sweep_interval_seconds=0.1
    )
    async with serve(settings, Coins()) as (_, stub):

        async def fill(ttl_seconds: int) -> grpc.aio.AioRpcError:
            for number in range(100):
                put = gateway_pb2.PutBlobRequest(data=os.urandom(50_000))
                put.ttl.FromMilliseconds(ttl_seconds * 1000)
                try:
                    await stub.PutBlob(put)
                except grpc.aio.AioRpcError as error:
                    assert number > 5
                    return error
            raise AssertionError("the database grew beyond its limit")

        error = await fill(1)
        assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "max_database_bytes" in str(error.details())
        # The sweep frees space as soon as the blobs' time is over.
        await asyncio.sleep(1.5)
        job = await stub.SubmitJob(request("key", coin_spec([[1.0] * 20])))
        assert (await collect(stub, job.id))[1].state == gateway_pb2.JOB_STATE_SUCCEEDED


async def test_a_full_group_of_writes_refuses_only_what_does_not_fit(tmp_path: Path) -> None:
    settings = make_settings(tmp_path, limits={"max_database_bytes": 2**20})
    async with serve(settings, Coins()) as (_, stub):
        puts = [gateway_pb2.PutBlobRequest(data=os.urandom(100_000)) for _ in range(20)]
        answers = await asyncio.gather(*(stub.PutBlob(put) for put in puts), return_exceptions=True)
        stored = [a for a in answers if isinstance(a, gateway_pb2.PutBlobResponse)]
        refused = [a for a in answers if isinstance(a, grpc.aio.AioRpcError)]
        assert len(stored) + len(refused) == 20
        assert len(stored) >= 5
        assert {error.code() for error in refused} == {grpc.StatusCode.RESOURCE_EXHAUSTED}
        for answer in stored:
            found = await stub.GetBlob(gateway_pb2.GetBlobRequest(digest=answer.digest))
            assert len(found.data) == 100_000
