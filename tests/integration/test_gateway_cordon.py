"""A cordoned QPU, and one whose provider is away: what begun is finished, what waits waits."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc
import numpy as np
import pytest

from kubeqpu.proto.v1 import gateway_pb2
from kubeqpu.qpu_gateway.errors import ProviderUnavailableError
from kubeqpu.qpu_gateway.qpus import ServedQPU
from kubeqpu.qpu_gateway.server import Gateway
from tests.integration.gateway_support import (
    Coins,
    coin_spec,
    collect,
    expected,
    make_settings,
    request,
    serve,
    until,
)


def served(gateway: Gateway, name: str = "coin") -> ServedQPU:
    return gateway._qpus[name]


async def test_an_unavailable_provider_is_left_alone_for_the_whole_wait(tmp_path: Path) -> None:
    coins = Coins()
    settings = make_settings(tmp_path, qpus=[{"name": "coin", "provider": "coin", "slots": 2}])
    async with serve(settings, coins) as (_, stub):
        provider = coins.by_name["coin"]
        provider.problems = [ProviderUnavailableError("away") for _ in range(1000)]
        # Twenty rows fill one batch of each slot.
        await stub.SubmitJob(request("key", coin_spec([list(np.linspace(0, 3, 200))])))
        await until(lambda: len(provider.problems) < 1000)
        await asyncio.sleep(0.1)
        # The first wait lasts at least 0.125 s; only what ran already may fail beside the first.
        assert len(provider.batches) <= 2


async def test_a_cordoned_qpu_finishes_what_has_begun_and_starts_nothing(tmp_path: Path) -> None:
    coins = Coins()
    begun, waiting = coin_spec([list(np.linspace(0, 3, 40))]), coin_spec([[1.0] * 5])
    async with serve(make_settings(tmp_path), coins) as (gateway, stub):
        provider = coins.by_name["coin"]
        provider.chunk_hook = lambda chunk: provider.available.clear()
        first = await stub.SubmitJob(request("first", begun))
        second = await stub.SubmitJob(request("second", waiting))
        await until(lambda: not provider.available.is_set())
        served(gateway).unschedulable = True
        provider.chunk_hook = lambda chunk: None
        provider.available.set()
        results, final = await collect(stub, first.id)
        assert final.state == gateway_pb2.JOB_STATE_SUCCEEDED
        assert results == expected(begun)
        await asyncio.sleep(0.2)
        assert {batch.job_id for batch in provider.batches} == {first.id}
        served(gateway).unschedulable = False
        _, final = await asyncio.wait_for(collect(stub, second.id), 5)
        assert final.state == gateway_pb2.JOB_STATE_SUCCEEDED


async def test_a_cordoned_qpu_takes_no_new_job_and_classes_pass_it_by(tmp_path: Path) -> None:
    coins = Coins()
    qpus = [{"name": name, "provider": "coin"} for name in ("coin", "other")]
    async with serve(make_settings(tmp_path, qpus=qpus), coins) as (gateway, stub):
        served(gateway).unschedulable = True
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.SubmitJob(request("named", coin_spec([[1.0]])))
        assert refused.value.code() == grpc.StatusCode.UNAVAILABLE
        assert "choose another" in str(refused.value.details())
        spec = coin_spec([[1.0]])
        spec.qpu_class = "standard"
        placed = [await stub.SubmitJob(request(f"class-{index}", spec)) for index in range(3)]
        assert {job.qpu for job in placed} == {"other"}
        served(gateway, "other").unschedulable = True
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.SubmitJob(request("class", spec))
        assert refused.value.code() == grpc.StatusCode.UNAVAILABLE
        assert "cordoned" in str(refused.value.details())


async def test_a_class_selects_by_the_labels_of_the_object(tmp_path: Path) -> None:
    coins = Coins()
    qpus = [{"name": name, "provider": "coin"} for name in ("coin", "other")]
    classes = {"here": {"requirements": {"selector": {"site": "delft"}}}}
    settings = make_settings(tmp_path, qpus=qpus, classes=classes)
    async with serve(settings, coins) as (gateway, stub):
        served(gateway, "other").labels = {"site": "delft"}
        spec = coin_spec([[1.0]])
        spec.qpu_class = "here"
        assert (await stub.SubmitJob(request("key", spec))).qpu == "other"
