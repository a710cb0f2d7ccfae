"""A provider, a job or the gateway stops: what is stored stays, and other work goes on."""

from __future__ import annotations

import asyncio
from pathlib import Path

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
    ANGLES,
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
