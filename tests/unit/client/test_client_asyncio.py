"""The asyncio client against a gateway that speaks the contract and breaks on request."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kubeqpu.client import (
    AsyncGatewayClient,
    ClosedError,
    DeadlineError,
    JobCancelledError,
    JobFailedError,
    JobState,
    UnavailableError,
)
from tests.support.memory_gateway import MemoryGateway
from tests.support.sweeps import ROWS, sweep


@pytest.fixture
async def aclient(memory_gateway: MemoryGateway) -> AsyncIterator[AsyncGatewayClient]:
    async with AsyncGatewayClient(
        memory_gateway.address, qpu="memory", patience_seconds=10
    ) as client:
        yield client


async def test_a_job_from_submission_to_result_in_asyncio(aclient: AsyncGatewayClient) -> None:
    job = await aclient.submit(sweep(), idempotency_key="sweep")
    found = await aclient.job(job.id)
    assert found.record.idempotency_key == "sweep"
    counts = (await job.result()).entries[0].counts
    assert counts.row(ROWS - 1) == {3: 50}
    assert await job.status() is JobState.SUCCEEDED
    rows = [chunk.rows async for chunk in found.results()]
    assert rows == [3, 3, 3, 1]


async def test_broken_streams_are_resumed_in_asyncio(
    memory_gateway: MemoryGateway, aclient: AsyncGatewayClient
) -> None:
    memory_gateway.faults.stream_breaks = [0, 2, 1]
    memory_gateway.faults.scrambled = True
    result = await (await aclient.submit(sweep())).result()
    whole = (await (await aclient.submit(sweep())).result()).entries[0].counts
    counts = result.entries[0].counts
    assert counts.counts.tolist() == whole.counts.tolist()
    assert counts.outcomes.tolist() == whole.outcomes.tolist()
    assert memory_gateway.streams == 5


async def test_no_gateway_is_told_in_asyncio(tmp_path: Path) -> None:
    address = f"unix:{tmp_path}/none.sock"
    async with AsyncGatewayClient(address, qpu="q", patience_seconds=0.2) as client:
        with pytest.raises(UnavailableError, match="Check that it runs"):
            await client.submit(sweep())
        with pytest.raises(UnavailableError):
            [chunk async for chunk in client.results("job")]


async def test_jobs_are_listed_in_asyncio(aclient: AsyncGatewayClient) -> None:
    ids = [(await aclient.submit(sweep(seed))).id for seed in range(5)]
    assert [record.id async for record in aclient.list_jobs()] == ids[::-1]


async def test_failed_and_cancelled_jobs_raise_in_asyncio(
    memory_gateway: MemoryGateway, aclient: AsyncGatewayClient
) -> None:
    job = await aclient.submit(sweep())
    memory_gateway.fail(job.id, "The QPU caught fire.")
    with pytest.raises(JobFailedError, match="The QPU caught fire"):
        await job.result()
    job = await aclient.submit(sweep(2))
    assert (await job.cancel()).state is JobState.CANCELLED
    with pytest.raises(JobCancelledError):
        [chunk async for chunk in job.results()]


async def test_waiting_ends_at_the_callers_deadline_in_asyncio(
    memory_gateway: MemoryGateway, aclient: AsyncGatewayClient
) -> None:
    memory_gateway.release.clear()
    job = await aclient.submit(sweep())
    with pytest.raises(DeadlineError, match="it runs on"):
        await job.result(timeout_seconds=0.3)
    task = asyncio.create_task(job.result())
    await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_closed_clients_say_so_in_asyncio(memory_gateway: MemoryGateway) -> None:
    memory_gateway.release.clear()
    client = AsyncGatewayClient(memory_gateway.address, qpu="memory")
    task = asyncio.create_task((await client.submit(sweep())).result())
    await asyncio.sleep(0.2)
    await client.close()
    with pytest.raises(ClosedError, match="make a new AsyncGatewayClient"):
        await task
    with pytest.raises(ClosedError):
        await client.qpus()


async def test_blobs_and_qpus_in_asyncio(aclient: AsyncGatewayClient) -> None:
    blob = await aclient.put_blob(b"histogram")
    assert await aclient.get_blob(blob.digest) == b"histogram"
    assert [qpu.name for qpu in await aclient.qpus()] == ["memory"]
    assert (await aclient.qpu("memory")).target is None
