"""Requests that are incomplete, too large or too many are refused, and nothing changes."""

from __future__ import annotations

from collections.abc import Awaitable
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest

from kubeqpu.proto.v1 import gateway_pb2
from tests.integration.bad_jobs import (
    EXHAUSTED,
    INVALID,
    BadJob,
    bell,
    changed,
    check_refused,
    estimator,
    refuse,
    sampler,
)
from tests.integration.gateway_support import Coins, coin_spec, dump, make_settings, request, serve

if TYPE_CHECKING:
    from tests.integration.gateway_support import Stub

LONG_TTL = sampler(bell())
LONG_TTL.result_ttl.FromSeconds(10**9)
EMPTY_SAMPLER = sampler(bell())
del EMPTY_SAMPLER.sampler.entries[:]
EMPTY_ESTIMATOR = estimator()
del EMPTY_ESTIMATOR.estimator.entries[:]
NO_KIND = gateway_pb2.JobSpec(qpu="ideal", circuits=dump(bell()))
NO_FORMAT = sampler(bell())
NO_FORMAT.sampler.format = gateway_pb2.RESULT_FORMAT_UNSPECIFIED

CASES: dict[str, BadJob] = {
    "no target": (changed(sampler(bell()), lambda s: s.ClearField("qpu")), INVALID, "target"),
    "unknown qpu": (sampler(bell(), qpu="nowhere"), grpc.StatusCode.NOT_FOUND, "serves ideal"),
    "unknown class": (sampler(bell(), qpu_class="gold"), INVALID, "no class 'gold'"),
    "no kind": (NO_KIND, INVALID, "no kind"),
    "empty sampler": (EMPTY_SAMPLER, INVALID, "empty"),
    "empty estimator": (EMPTY_ESTIMATOR, INVALID, "empty"),
    "no format": (NO_FORMAT, INVALID, "result format"),
    "ttl too long": (LONG_TTL, INVALID, "ttl"),
}


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("case", CASES)
async def test_bad_requests_are_refused_with_a_sentence(strict_stub: Stub, case: str) -> None:
    await check_refused(strict_stub, CASES[case])


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("key", ["", "x" * 129, " x", "a\nb"])
async def test_bad_keys_are_refused(strict_stub: Stub, key: str) -> None:
    error = await refuse(strict_stub, request(key, sampler(bell())))
    assert error.code() == INVALID
    assert "idempotency key" in str(error.details())


@pytest.mark.asyncio(loop_scope="module")
async def test_a_message_above_the_wire_limit_is_refused(strict_stub: Stub) -> None:
    error = await refuse(strict_stub, request("key", sampler(b"\0" * 2**20)))
    assert error.code() == EXHAUSTED


@pytest.mark.asyncio(loop_scope="module")
async def test_other_bad_calls_are_refused(strict_stub: Stub) -> None:
    empty_ttl = gateway_pb2.PutBlobRequest(data=b"x")
    empty_ttl.ttl.FromSeconds(0)
    calls: list[tuple[Awaitable[object], grpc.StatusCode]] = [
        (strict_stub.GetBlob(gateway_pb2.GetBlobRequest(digest="sha1:00")), INVALID),
        (strict_stub.PutBlob(gateway_pb2.PutBlobRequest(data=b"x" * 1001)), EXHAUSTED),
        (strict_stub.PutBlob(empty_ttl), INVALID),
        (strict_stub.ListJobs(gateway_pb2.ListJobsRequest(page_token="x")), INVALID),
        (strict_stub.ListJobs(gateway_pb2.ListJobsRequest(states=[77])), INVALID),  # type: ignore[list-item]
        (strict_stub.GetQPU(gateway_pb2.GetQPURequest(name="x")), grpc.StatusCode.NOT_FOUND),
        (strict_stub.GetJob(gateway_pb2.GetJobRequest(id="x")), grpc.StatusCode.NOT_FOUND),
        (
            strict_stub.GetJob(
                gateway_pb2.GetJobRequest(id="x"), metadata=(("kubeqpu-tenant", "A b"),)
            ),
            INVALID,
        ),
    ]
    for call, code in calls:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call
        assert refused.value.code() == code


@pytest.mark.asyncio(loop_scope="module")
async def test_blobs_of_a_tenant_are_capped(strict_stub: Stub) -> None:
    await strict_stub.PutBlob(gateway_pb2.PutBlobRequest(data=b"a" * 1000))
    await strict_stub.PutBlob(gateway_pb2.PutBlobRequest(data=b"a" * 1000))
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await strict_stub.PutBlob(gateway_pb2.PutBlobRequest(data=b"b" * 1000))
    assert refused.value.code() == EXHAUSTED
    assert "has 1000 bytes in blobs and may have 1500" in str(refused.value.details())


async def test_too_many_unfinished_jobs_are_refused(tmp_path: Path) -> None:
    coins = Coins(lambda provider: provider.available.clear())
    settings = make_settings(tmp_path, limits={"max_unfinished_jobs": 2})
    async with serve(settings, coins) as (_, stub):
        for key in ("a", "b"):
            await stub.SubmitJob(request(key, coin_spec([[1.0]])))
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.SubmitJob(request("c", coin_spec([[1.0]])))
        assert refused.value.code() == EXHAUSTED
        coins.by_name["coin"].available.set()
