"""A cancelled job stops where it is, and keeps the results it has."""

from __future__ import annotations

import asyncio
from pathlib import Path

from kubeqpu.proto.v1 import gateway_pb2
from tests.integration.gateway_support import (
    Coins,
    coin_spec,
    collect,
    expected,
    make_settings,
    request,
    serve,
    stream_request,
    until,
)


async def test_a_queued_job_can_be_cancelled_and_never_runs(tmp_path: Path) -> None:
    coins = Coins()
    async with serve(make_settings(tmp_path), coins) as (_, stub):
        provider = coins.by_name["coin"]
        provider.available.clear()
        first = await stub.SubmitJob(request("first", coin_spec([[1.0]])))
        second = await stub.SubmitJob(request("second", coin_spec([[1.0]])))
        reader = asyncio.create_task(collect(stub, second.id))
        cancelled = await stub.CancelJob(gateway_pb2.CancelJobRequest(id=second.id))
        assert cancelled.state == gateway_pb2.JOB_STATE_CANCELLED
        assert (await reader)[1].state == gateway_pb2.JOB_STATE_CANCELLED
        provider.available.set()
        await collect(stub, first.id)
        assert {batch.job_id for batch in provider.batches} == {first.id}


async def test_a_running_job_can_be_cancelled_and_keeps_what_it_has(tmp_path: Path) -> None:
    coins = Coins()
    spec = coin_spec([[1.0] * 25])
    async with serve(make_settings(tmp_path), coins) as (_, stub):
        provider = coins.by_name["coin"]

        def hold(chunk: gateway_pb2.ResultChunk) -> None:
            if chunk.first_row >= 12:
                provider.available.clear()

        provider.chunk_hook = hold
        job = await stub.SubmitJob(request("key", spec))
        async for event in stub.StreamResults(stream_request(job)):
            assert event.HasField("chunk")
            break
        await until(lambda: not provider.available.is_set())
        await stub.CancelJob(gateway_pb2.CancelJobRequest(id=job.id))
        results, final = await collect(stub, job.id)
        assert provider.cancelled == 1
        assert 0 < len(results) < 25
        assert final.circuits_finished == len(results)
        assert results.items() <= expected(spec).items()
        again = await stub.CancelJob(gateway_pb2.CancelJobRequest(id=job.id))
        assert again == final
        provider.available.set()
        other = await stub.SubmitJob(request("other", coin_spec([[1.0]])))
        assert (await collect(stub, other.id))[1].state == gateway_pb2.JOB_STATE_SUCCEEDED


async def test_a_succeeded_job_stays_so_when_cancelled(tmp_path: Path) -> None:
    async with serve(make_settings(tmp_path), Coins()) as (_, stub):
        job = await stub.SubmitJob(request("key", coin_spec([[1.0]])))
        _, final = await collect(stub, job.id)
        assert await stub.CancelJob(gateway_pb2.CancelJobRequest(id=job.id)) == final
