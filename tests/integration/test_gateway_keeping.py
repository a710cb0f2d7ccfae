"""What the gateway keeps: whose it is, how it is found, and when it expires."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest

from kubeqpu.proto.v1 import gateway_pb2
from tests.integration.gateway_support import (
    Coins,
    coin_spec,
    collect,
    expected,
    make_settings,
    request,
    serve,
)

if TYPE_CHECKING:
    from tests.integration.gateway_support import Stub


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
