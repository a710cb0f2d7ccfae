"""Jobs run once, in order and where they belong, and every reader gets every result."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc
import numpy as np
import pytest

from kubeqpu.proto.v1 import gateway_pb2
from tests.integration.gateway_support import (
    ANGLES,
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


async def test_a_job_runs_and_its_results_come_once(tmp_path: Path) -> None:
    coins = Coins()
    spec = coin_spec(ANGLES)
    async with serve(make_settings(tmp_path), coins) as (_, stub):
        job = await stub.SubmitJob(request("one", spec))
        assert (job.state, job.circuits, job.seed) == (gateway_pb2.JOB_STATE_QUEUED, 26, 7)
        results, final = await collect(stub, job.id)
        assert results == expected(spec)
        assert final.state == gateway_pb2.JOB_STATE_SUCCEEDED
        assert final.circuits_finished == 26
        assert final.finished_at.seconds >= final.submitted_at.seconds > 0
        assert final.expires_at.seconds > final.finished_at.seconds
        provider = coins.by_name["coin"]
        assert max(sum(s.rows for s in batch.spans) for batch in provider.batches) <= 10
        assert len(provider.rows_run()) == len(set(provider.rows_run())) == 26


async def test_the_same_key_gives_the_same_job_and_another_spec_is_refused(tmp_path: Path) -> None:
    coins = Coins()
    async with serve(make_settings(tmp_path), coins) as (_, stub):
        first = await stub.SubmitJob(request("key", coin_spec(ANGLES)))
        await collect(stub, first.id)
        again = await stub.SubmitJob(request("key", coin_spec(ANGLES)))
        assert again.id == first.id
        assert again.state == gateway_pb2.JOB_STATE_SUCCEEDED
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.SubmitJob(request("key", coin_spec([[1.0]])))
        assert refused.value.code() == grpc.StatusCode.ALREADY_EXISTS
        assert "use a new key" in str(refused.value.details())
        assert len(coins.by_name["coin"].rows_run()) == 26


async def test_a_burst_with_one_key_stores_one_job(tmp_path: Path) -> None:
    async with serve(make_settings(tmp_path), Coins()) as (_, stub):
        calls = (stub.SubmitJob(request("key", coin_spec(ANGLES))) for _ in range(20))
        jobs = await asyncio.gather(*calls)
        assert len({job.id for job in jobs}) == 1
        listed = await stub.ListJobs(gateway_pb2.ListJobsRequest())
        assert len(listed.jobs) == 1


async def test_early_late_slow_and_several_readers_get_everything_once(tmp_path: Path) -> None:
    coins = Coins()
    spec = coin_spec([list(np.linspace(0, 3, 60))])
    async with serve(make_settings(tmp_path), coins) as (_, stub):
        provider = coins.by_name["coin"]
        provider.available.clear()
        job = await stub.SubmitJob(request("key", spec))
        early = [asyncio.create_task(collect(stub, job.id)) for _ in range(3)]

        async def read_slowly() -> list[int]:
            rows = []
            async for event in stub.StreamResults(stream_request(job)):
                rows += [event.chunk.first_row + index for index in range(event.chunk.rows)]
                await asyncio.sleep(0.02)
            return rows

        slow = asyncio.create_task(read_slowly())
        await asyncio.sleep(0.05)
        provider.available.set()
        for reader in early:
            assert (await reader)[0] == expected(spec)
        assert sorted(await slow) == list(range(60))
        assert (await collect(stub, job.id))[0] == expected(spec)


async def test_higher_priority_runs_first_then_first_come(tmp_path: Path) -> None:
    coins = Coins()
    async with serve(make_settings(tmp_path), coins) as (_, stub):
        provider = coins.by_name["coin"]
        provider.available.clear()
        running = await stub.SubmitJob(request("running", coin_spec([[1.0]])))
        await until(lambda: len(provider.batches) == 1)
        ids = {
            key: (await stub.SubmitJob(request(key, coin_spec([[1.0]], priority=priority)))).id
            for key, priority in [("low", -1), ("a", 0), ("b", 0), ("high", 5)]
        }
        provider.available.set()
        for job_id in ids.values():
            await collect(stub, job_id)
        order = [batch.job_id for batch in provider.batches]
        assert order == [running.id, ids["high"], ids["a"], ids["b"], ids["low"]]


async def test_slots_run_batches_of_one_job_in_parallel(tmp_path: Path) -> None:
    coins = Coins()
    settings = make_settings(tmp_path, qpus=[{"name": "coin", "provider": "coin", "slots": 3}])
    spec = coin_spec([[1.0] * 100])
    async with serve(settings, coins) as (_, stub):
        provider = coins.by_name["coin"]
        provider.available.clear()
        job = await stub.SubmitJob(request("key", spec))
        await until(lambda: len(provider.batches) == 3)
        await asyncio.sleep(0.05)
        assert len(provider.batches) == 3
        provider.available.set()
        assert (await collect(stub, job.id))[0] == expected(spec)


async def test_identical_rows_run_once_only_on_request(tmp_path: Path) -> None:
    coins = Coins()
    angles = [[1.0, 2.0, 1.0, 1.0], [2.0, 0.5]]
    async with serve(make_settings(tmp_path), coins) as (_, stub):
        provider = coins.by_name["coin"]
        merged = await stub.SubmitJob(request("m", coin_spec(angles, merge_identical=True)))
        results, final = await collect(stub, merged.id)
        assert final.circuits_finished == 6
        assert sorted(provider.rows_run()) == [
            (merged.id, 0, 0),
            (merged.id, 0, 1),
            (merged.id, 1, 1),
        ]
        assert results[0, 0] == results[0, 2] == results[0, 3]
        assert results[0, 1] == results[1, 0]
        alone = await stub.SubmitJob(request("a", coin_spec(angles)))
        results, _ = await collect(stub, alone.id)
        assert results == expected(coin_spec(angles))
        assert len({results[0, 0], results[0, 2], results[0, 3]}) > 1


async def test_a_class_places_the_job_on_the_qpu_with_the_shortest_queue(tmp_path: Path) -> None:
    coins = Coins()
    qpus = [{"name": name, "provider": "coin"} for name in ("a", "b")]
    settings = make_settings(tmp_path, qpus=qpus)
    async with serve(settings, coins) as (_, stub):
        for provider in coins.by_name.values():
            provider.available.clear()
        spec = coin_spec([[1.0]])
        spec.qpu_class = "standard"
        first = await stub.SubmitJob(request("first", spec))
        await until(lambda: len(coins.by_name["a"].batches) == 1)
        second = await stub.SubmitJob(request("second", spec))
        assert (first.qpu, second.qpu) == ("a", "b")
        spec.qpu_class = "gold"
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.SubmitJob(request("third", spec))
        assert "choose one of standard" in str(refused.value.details())
        for provider in coins.by_name.values():
            provider.available.set()
