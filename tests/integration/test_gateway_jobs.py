from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from kubeqpu.proto.v1 import gateway_pb2
from kubeqpu.qpu_gateway.errors import CircuitError, ProviderUnavailableError, WorkerError
from kubeqpu.qpu_gateway.providers.base import QPUSettings
from kubeqpu.qpu_gateway.server import Gateway
from kubeqpu.qpu_gateway.workers import WorkerPool
from tests.integration.gateway_support import (
    CoinProvider,
    Coins,
    InProcessInspector,
    coin_spec,
    collect,
    connect,
    expected,
    make_settings,
    request,
    serve,
    until,
)

if TYPE_CHECKING:
    from tests.integration.gateway_support import Stub

ANGLES = [list(np.linspace(0.1, 3.0, 17)), [0.5], list(np.linspace(1, 2, 8))]


def stream_request(job: gateway_pb2.Job) -> gateway_pb2.StreamResultsRequest:
    return gateway_pb2.StreamResultsRequest(id=job.id)


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


async def test_an_unavailable_provider_keeps_work_queued_and_repeats_no_stored_row(
    tmp_path: Path,
) -> None:
    coins = Coins()
    spec = coin_spec([list(np.linspace(0, 3, 30))])
    async with serve(make_settings(tmp_path), coins) as (_, stub):
        provider = coins.by_name["coin"]
        provider.problems = [ProviderUnavailableError("away") for _ in range(3)]
        job = await stub.SubmitJob(request("key", spec))
        results, final = await collect(stub, job.id)
        assert final.state == gateway_pb2.JOB_STATE_SUCCEEDED
        assert results == expected(spec)
        assert provider.problems == []
        # Each failed batch had returned one chunk, whose rows are not handed out again.
        assert len(provider.rows_run()) == 30 + 3 * (10 - 3)


@pytest.mark.parametrize(
    ("problem", "sentence"),
    [
        (CircuitError("The circuit is odd."), "The circuit is odd."),
        (WorkerError("The worker ran out of memory."), "The worker ran out of memory."),
        (RuntimeError("a bug"), "The gateway met an error of its own"),
    ],
)
async def test_a_failing_job_fails_alone(tmp_path: Path, problem: Exception, sentence: str) -> None:
    coins = Coins()
    async with serve(make_settings(tmp_path), coins) as (_, stub):
        provider = coins.by_name["coin"]
        provider.problems = [problem]
        bad = await stub.SubmitJob(request("bad", coin_spec([[1.0] * 25])))
        good = await stub.SubmitJob(request("good", coin_spec(ANGLES)))
        results, final = await collect(stub, bad.id)
        assert final.state == gateway_pb2.JOB_STATE_FAILED
        assert sentence in final.message
        assert final.circuits_finished == len(results)
        assert (await collect(stub, good.id))[0] == expected(coin_spec(ANGLES))


@pytest.mark.parametrize("shift", [1, 100])
async def test_rows_that_were_not_asked_for_fail_the_job(tmp_path: Path, shift: int) -> None:
    coins = Coins()

    def misplace(chunk: gateway_pb2.ResultChunk) -> None:
        chunk.first_row += shift

    async with serve(make_settings(tmp_path), coins) as (_, stub):
        coins.by_name["coin"].chunk_hook = misplace
        job = await stub.SubmitJob(request("key", coin_spec([[1.0] * 7])))
        final = (await collect(stub, job.id))[1]
        assert final.state == gateway_pb2.JOB_STATE_FAILED
        assert "error of the provider" in final.message


async def test_tenants_do_not_see_each_other(tmp_path: Path) -> None:
    mine, theirs = (("kubeqpu-tenant", "team-a"),), (("kubeqpu-tenant", "team-b"),)
    async with serve(make_settings(tmp_path), Coins()) as (_, stub):
        job = await stub.SubmitJob(request("key", coin_spec([[1.0]])), metadata=mine)
        other = await stub.SubmitJob(request("key", coin_spec([[2.0]])), metadata=theirs)
        assert other.id != job.id
        blob = await stub.PutBlob(gateway_pb2.PutBlobRequest(data=b"x"), metadata=mine)

        async def stream(job_id: str) -> None:
            call = stub.StreamResults(gateway_pb2.StreamResultsRequest(id=job_id), metadata=theirs)
            async for _ in call:
                pass

        for calls in (
            lambda i: stub.GetJob(gateway_pb2.GetJobRequest(id=i), metadata=theirs),
            lambda i: stub.CancelJob(gateway_pb2.CancelJobRequest(id=i), metadata=theirs),
            stream,
        ):
            answers = []
            for job_id in (job.id, "0" * 32):
                with pytest.raises(grpc.aio.AioRpcError) as refused:
                    await calls(job_id)
                details = str(refused.value.details()).replace(job_id, "ID")
                answers.append((refused.value.code(), details))
            assert answers[0] == answers[1]
            assert answers[0][0] == grpc.StatusCode.NOT_FOUND
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.GetBlob(gateway_pb2.GetBlobRequest(digest=blob.digest), metadata=theirs)
        assert refused.value.code() == grpc.StatusCode.NOT_FOUND
        listed = await stub.ListJobs(gateway_pb2.ListJobsRequest(), metadata=theirs)
        assert [item.id for item in listed.jobs] == [other.id]
        assert (await collect_as(stub, job.id, mine)).state == gateway_pb2.JOB_STATE_SUCCEEDED


async def collect_as(
    stub: Stub, job_id: str, metadata: tuple[tuple[str, str], ...]
) -> gateway_pb2.Job:
    call = stub.StreamResults(gateway_pb2.StreamResultsRequest(id=job_id), metadata=metadata)
    async for event in call:
        last = event
    return last.job


async def test_jobs_are_listed_newest_first_page_by_page(tmp_path: Path) -> None:
    async with serve(make_settings(tmp_path), Coins()) as (_, stub):
        jobs = [await stub.SubmitJob(request(f"k{i}", coin_spec([[1.0]]))) for i in range(7)]
        for job in jobs:
            await collect(stub, job.id)
        found, token = [], ""
        for size in (3, 3, 1):
            page = await stub.ListJobs(gateway_pb2.ListJobsRequest(page_size=3, page_token=token))
            assert len(page.jobs) == size
            found += [job.id for job in page.jobs]
            token = page.next_page_token
        assert token == ""
        assert found == [job.id for job in reversed(jobs)]
        states = [gateway_pb2.JOB_STATE_QUEUED]
        assert not (await stub.ListJobs(gateway_pb2.ListJobsRequest(states=states))).jobs


async def test_blobs_are_found_by_their_content(tmp_path: Path) -> None:
    async with serve(make_settings(tmp_path), Coins()) as (_, stub):
        put = gateway_pb2.PutBlobRequest(data=b"fragment")
        put.ttl.FromSeconds(100)
        first = await stub.PutBlob(put)
        put.ttl.FromSeconds(1000)
        longer = await stub.PutBlob(put)
        put.ttl.FromSeconds(10)
        shorter = await stub.PutBlob(put)
        assert first.digest == longer.digest == shorter.digest
        assert longer.expires_at.seconds >= first.expires_at.seconds + 899
        assert shorter.expires_at == longer.expires_at
        found = await stub.GetBlob(gateway_pb2.GetBlobRequest(digest=first.digest))
        assert found.data == b"fragment"


async def test_results_and_blobs_expire(tmp_path: Path) -> None:
    settings = make_settings(tmp_path, sweep_interval_seconds=0.05)
    spec = coin_spec([[1.0]])
    spec.result_ttl.FromMilliseconds(200)
    async with serve(settings, Coins()) as (_, stub):
        job = await stub.SubmitJob(request("key", spec))
        kept = await stub.SubmitJob(request("kept", coin_spec([[1.0]])))
        await collect(stub, job.id)
        put = gateway_pb2.PutBlobRequest(data=b"x")
        put.ttl.FromMilliseconds(200)
        blob = await stub.PutBlob(put)
        await asyncio.sleep(0.5)
        for call in (
            stub.GetJob(gateway_pb2.GetJobRequest(id=job.id)),
            stub.GetBlob(gateway_pb2.GetBlobRequest(digest=blob.digest)),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await call
            assert refused.value.code() == grpc.StatusCode.NOT_FOUND
        assert (await collect(stub, kept.id))[0] == expected(coin_spec([[1.0]]))
        # The key is free again.
        assert (await stub.SubmitJob(request("key", spec))).id != job.id


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


async def test_a_restarted_gateway_finishes_jobs_without_repeating_stored_rows(
    tmp_path: Path,
) -> None:
    spec = coin_spec([list(np.linspace(0, 3, 40))])
    first, second = Coins(), Coins()
    settings = make_settings(tmp_path, stop_grace_seconds=0.0)
    async with serve(settings, first) as (_, stub):
        provider = first.by_name["coin"]

        def hold(chunk: gateway_pb2.ResultChunk) -> None:
            if chunk.first_row >= 12:
                provider.available.clear()

        provider.chunk_hook = hold
        job = await stub.SubmitJob(request("key", spec))
        await until(lambda: not provider.available.is_set())
        await asyncio.sleep(0.1)
        stored = (await stub.GetJob(gateway_pb2.GetJobRequest(id=job.id))).circuits_finished
    assert 12 < stored < 40
    async with serve(settings, second) as (_, stub):
        results, final = await collect(stub, job.id)
        assert results == expected(spec)
        assert final.seed == 7
        assert len(second.by_name["coin"].rows_run()) == 40 - stored


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


async def test_health_is_good_while_the_provider_is_not(tmp_path: Path) -> None:
    class Broken(CoinProvider):
        async def start(self) -> None:
            raise ProviderUnavailableError("The laboratory is dark.")

    def make(settings: QPUSettings, workers: WorkerPool) -> Broken:
        return Broken(settings)

    settings = make_settings(tmp_path)
    async with Gateway(settings, {"coin": make}, InProcessInspector()) as gateway:
        async with grpc.aio.insecure_channel(gateway.addresses[0]) as channel:
            health = health_pb2_grpc.HealthStub(channel)
            for service in ("", "kubeqpu.v1.Gateway"):
                answer = await health.Check(health_pb2.HealthCheckRequest(service=service))
                assert answer.status == health_pb2.HealthCheckResponse.SERVING
        async with connect(gateway.addresses[0]) as stub:
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await stub.SubmitJob(request("key", coin_spec([[1.0]])))
            assert refused.value.code() == grpc.StatusCode.UNAVAILABLE
            assert "The laboratory is dark" in str(refused.value.details())
            (qpu,) = (await stub.ListQPUs(gateway_pb2.ListQPUsRequest())).qpus
            assert qpu.name == "coin"
            assert [(c.type, c.status) for c in qpu.conditions] == [("Ready", "False")]


async def test_stopping_lets_a_running_batch_finish(tmp_path: Path) -> None:
    coins = Coins()
    settings = make_settings(tmp_path)
    spec = coin_spec([[1.0] * 10])
    async with serve(settings, coins) as (gateway, stub):
        provider = coins.by_name["coin"]
        provider.chunk_hook = lambda chunk: provider.available.clear()
        job = await stub.SubmitJob(request("key", spec))
        reader = asyncio.create_task(collect(stub, job.id))
        await until(lambda: not provider.available.is_set())
        # The stream must have begun: a server that stops takes no new ones.
        await asyncio.sleep(0.2)
        provider.chunk_hook = lambda chunk: None
        stopping = asyncio.create_task(gateway.stop())
        await asyncio.sleep(0.1)
        provider.available.set()
        await stopping
        results, final = await reader
        assert results == expected(spec)
        assert final.state == gateway_pb2.JOB_STATE_SUCCEEDED
