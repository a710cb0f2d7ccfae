"""Who may do what at a gateway in a cluster: every call, over TLS, with reviewed tokens."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
import grpc
import pytest
import trustme
from prometheus_client.parser import text_string_to_metric_families

from kubeqpu.proto.v1 import gateway_pb2, gateway_pb2_grpc
from kubeqpu.qpu_gateway.access.cluster import ClusterAccess
from kubeqpu.qpu_gateway.qpus import load_factories
from kubeqpu.qpu_gateway.server import Gateway
from tests.integration.gateway_support import (
    Coins,
    InProcessInspector,
    coin_spec,
    make_settings,
    request,
    until,
)
from tests.support.review_server import AUDIENCE, ReviewServer

if TYPE_CHECKING:
    from tests.integration.gateway_support import Stub

Call = Callable[["Stub", gateway_pb2.Job, str], Awaitable[object]]
ALL = ("create", "get", "delete")
NOT_FOUND = grpc.StatusCode.NOT_FOUND
DENIED = grpc.StatusCode.PERMISSION_DENIED
NOBODY = grpc.StatusCode.UNAUTHENTICATED
UNAVAILABLE = grpc.StatusCode.UNAVAILABLE


@dataclass
class Place:
    """A gateway with two coins, its API server, and what a caller needs."""

    server: ReviewServer
    coins: Coins
    gateway: Gateway
    trust: grpc.ChannelCredentials

    @asynccontextmanager
    async def connect(self, token: str | None) -> AsyncIterator[Stub]:
        credentials = self.trust
        if token is not None:
            call = grpc.access_token_call_credentials(token)
            credentials = grpc.composite_channel_credentials(credentials, call)
        address = self.gateway.addresses[0]
        async with grpc.aio.secure_channel(address, credentials) as channel:
            yield gateway_pb2_grpc.GatewayStub(channel)


@asynccontextmanager
async def serve_place(
    tmp_path: Path, accepted_seconds: float, check_seconds: float
) -> AsyncIterator[Place]:
    authority = trustme.CA()
    issued = authority.issue_cert("localhost")
    issued.private_key_pem.write_to_path(str(tmp_path / "tls.key"))
    issued.cert_chain_pems[0].write_to_path(str(tmp_path / "tls.crt"))
    settings = make_settings(
        tmp_path,
        listen=("localhost:0",),
        metrics_port=0,
        tls={"certificate": tmp_path / "tls.crt", "key": tmp_path / "tls.key"},
        qpus=[{"name": name, "provider": "coin"} for name in ("dime", "penny")],
    )
    coins = Coins()
    factories = {**load_factories(), **coins.factories()}
    trust = grpc.ssl_channel_credentials(authority.cert_pem.bytes())
    async with ReviewServer() as server, server.api_client() as api_client:
        access = ClusterAccess(
            api_client,
            AUDIENCE,
            accepted_seconds=accepted_seconds,
            check_seconds=check_seconds,
        )
        gateway = Gateway(settings, factories, InProcessInspector(), access)
        async with gateway:
            yield Place(server, coins, gateway, trust)


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    async with serve_place(tmp_path, accepted_seconds=0.2, check_seconds=0.2) as found:
        yield found


async def stream(stub: Stub, job_id: str) -> gateway_pb2.Job:
    async for event in stub.StreamResults(gateway_pb2.StreamResultsRequest(id=job_id)):
        last = event
    return last.job


JOB_CALLS: dict[str, Call] = {
    "GetJob": lambda stub, job, _: stub.GetJob(gateway_pb2.GetJobRequest(id=job.id)),
    "CancelJob": lambda stub, job, _: stub.CancelJob(gateway_pb2.CancelJobRequest(id=job.id)),
    "StreamResults": lambda stub, job, _: stream(stub, job.id),
}
ALL_CALLS: dict[str, Call] = {
    **JOB_CALLS,
    "SubmitJob": lambda stub, job, _: stub.SubmitJob(
        request("new", coin_spec([[1.0]], qpu="penny"))
    ),
    "ListJobs": lambda stub, job, _: stub.ListJobs(gateway_pb2.ListJobsRequest()),
    "ListQPUs": lambda stub, job, _: stub.ListQPUs(gateway_pb2.ListQPUsRequest()),
    "GetQPU": lambda stub, job, _: stub.GetQPU(gateway_pb2.GetQPURequest(name="penny")),
    "PutBlob": lambda stub, job, _: stub.PutBlob(gateway_pb2.PutBlobRequest(data=b"x")),
    "GetBlob": lambda stub, job, digest: stub.GetBlob(gateway_pb2.GetBlobRequest(digest=digest)),
}


async def refuse(call: Awaitable[object]) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call
    return refused.value.code(), str(refused.value.details())


def test_every_rpc_is_tried() -> None:
    methods = gateway_pb2.DESCRIPTOR.services_by_name["Gateway"].methods_by_name
    assert set(ALL_CALLS) == set(methods)


async def test_nobody_gets_anything_without_a_token(place: Place) -> None:
    job = gateway_pb2.Job(id="0" * 32)
    wrong = place.server.issue_token("team-a", audience="other")
    for token, reason in ((None, "has no token"), (wrong, "is for other")):
        async with place.connect(token) as stub:
            for call in ALL_CALLS.values():
                code, details = await refuse(call(stub, job, "sha256:" + "0" * 64))
                assert code is NOBODY
                assert reason in details


async def test_an_account_without_rights_sees_qpus_and_blobs_only(place: Place) -> None:
    place.server.allow("team-a", *ALL)
    async with place.connect(place.server.issue_token("team-a")) as stub:
        job = await stub.SubmitJob(request("key", coin_spec([[1.0]], qpu="penny")))
    place.server.rights.clear()
    await asyncio.sleep(0.25)
    async with place.connect(place.server.issue_token("team-a")) as stub:
        assert len((await stub.ListQPUs(gateway_pb2.ListQPUsRequest())).qpus) == 2
        assert (await stub.GetQPU(gateway_pb2.GetQPURequest(name="penny"))).name == "penny"
        blob = await stub.PutBlob(gateway_pb2.PutBlobRequest(data=b"x"))
        assert (await stub.GetBlob(gateway_pb2.GetBlobRequest(digest=blob.digest))).data == b"x"
        for name, verb in (
            ("SubmitJob", "create"),
            ("GetJob", "get"),
            ("StreamResults", "get"),
            ("CancelJob", "delete"),
        ):
            code, details = await refuse(ALL_CALLS[name](stub, job, ""))
            assert code is DENIED
            assert f"can-i {verb} qpus.kubeqpu.io/penny --subresource=jobs" in details
        assert not (await stub.ListJobs(gateway_pb2.ListJobsRequest())).jobs
        spec = coin_spec([[1.0]], qpu="")
        spec.qpu_class = "standard"
        code, details = await refuse(stub.SubmitJob(request("by class", spec)))
        assert code is DENIED
        assert "RoleBinding to ClusterRole kubeqpu-user in namespace team-a" in details


async def test_a_tenant_finds_nothing_of_another(place: Place) -> None:
    for tenant in ("team-a", "team-b"):
        place.server.allow(tenant, *ALL)
    async with place.connect(place.server.issue_token("team-a")) as stub:
        mine = await stub.SubmitJob(request("key", coin_spec([[1.0]], qpu="penny")))
        blob = await stub.PutBlob(gateway_pb2.PutBlobRequest(data=b"secret"))
    async with place.connect(place.server.issue_token("team-b")) as stub:
        for name, call in JOB_CALLS.items():
            answers = [
                await refuse(call(stub, gateway_pb2.Job(id=job_id), ""))
                for job_id in (mine.id, "0" * 32)
            ]
            assert answers[0][1].replace(mine.id, "ID") == answers[1][1].replace("0" * 32, "ID")
            assert [code for code, _ in answers] == [NOT_FOUND] * 2, name
        digests = (blob.digest, "sha256:" + "0" * 64)
        answers = [
            await refuse(stub.GetBlob(gateway_pb2.GetBlobRequest(digest=digest)))
            for digest in digests
        ]
        assert answers[0][1].replace(digests[0], "D") == answers[1][1].replace(digests[1], "D")
        assert [code for code, _ in answers] == [NOT_FOUND] * 2
        # The same key is another tenant's own.
        other = await stub.SubmitJob(request("key", coin_spec([[2.0]], qpu="penny")))
        assert other.id != mine.id
        listed = await stub.ListJobs(gateway_pb2.ListJobsRequest())
        assert [job.id for job in listed.jobs] == [other.id]
        page = gateway_pb2.ListJobsRequest(page_token=mine.id)
        none = gateway_pb2.ListJobsRequest(page_token="0" * 32)
        assert await refuse(stub.ListJobs(page)) == await refuse(stub.ListJobs(none))
        claimed = stub.GetJob(
            gateway_pb2.GetJobRequest(id=mine.id), metadata=(("kubeqpu-tenant", "team-a"),)
        )
        assert (await refuse(claimed))[0] is DENIED
    # Rights were asked for only on what each tenant has.
    namespaces = {
        (review["user"].split(":")[2], review["resourceAttributes"]["namespace"])
        for review in place.server.access_reviews
    }
    assert namespaces == {("team-a", "team-a"), ("team-b", "team-b")}


async def test_page_tokens_do_not_count_other_tenants_jobs(place: Place) -> None:
    for tenant in ("team-a", "team-b"):
        place.server.allow(tenant, *ALL)
    token = place.server.issue_token("team-a")
    seen = []
    async with (
        place.connect(token) as mine,
        place.connect(place.server.issue_token("team-b")) as other,
    ):
        for number in range(3):
            job = await mine.SubmitJob(request(f"k{number}", coin_spec([[1.0]], qpu="penny")))
            await other.SubmitJob(request(f"k{number}", coin_spec([[1.0]], qpu="penny")))
            seen.append(job.id)
        page_token = ""
        found: list[str] = []
        while len(found) < 3:
            page = await mine.ListJobs(
                gateway_pb2.ListJobsRequest(page_size=1, page_token=page_token)
            )
            found += [job.id for job in page.jobs]
            page_token = page.next_page_token
            assert page_token in {"", *seen}
    assert found == seen[::-1]


async def test_a_class_means_the_qpus_that_the_caller_may_use(place: Place) -> None:
    place.server.allow("team-a", "create", "get", qpu="penny")
    spec = coin_spec([[1.0]], qpu="")
    spec.qpu_class = "standard"
    async with place.connect(place.server.issue_token("team-a")) as stub:
        for number in range(5):
            assert (await stub.SubmitJob(request(f"k{number}", spec))).qpu == "penny"
        named = stub.SubmitJob(request("named", coin_spec([[1.0]], qpu="dime")))
        assert (await refuse(named))[0] is DENIED
        wide = coin_spec([[1.0]], qpu="")
        wide.qpu_class = "standard"
        wide.sampler.entries[0].shots[:] = [10_000]
        code, details = await refuse(stub.SubmitJob(request("wide", wide)))
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert details.endswith("You may not run circuits on dime.")


async def test_a_listing_leaves_out_what_the_caller_may_not_read(place: Place) -> None:
    place.server.allow("team-a", "create")
    place.server.allow("team-a", "get", qpu="dime")
    async with place.connect(place.server.issue_token("team-a")) as stub:
        jobs = [
            await stub.SubmitJob(request(f"k{i}", coin_spec([[1.0]], qpu=qpu)))
            for i, qpu in enumerate(("dime", "penny", "penny", "dime"))
        ]
        found, page_token, pages = [], "", 0
        while True:
            page = await stub.ListJobs(
                gateway_pb2.ListJobsRequest(page_size=1, page_token=page_token)
            )
            found += [job.id for job in page.jobs]
            page_token, pages = page.next_page_token, pages + 1
            if not page_token:
                break
        assert found == [jobs[3].id, jobs[0].id]
        assert pages == 4


async def test_a_job_found_by_its_key_needs_the_right_to_its_qpu(place: Place) -> None:
    place.server.allow("team-a", "create", qpu="penny")
    spec = coin_spec([[1.0]], qpu="")
    spec.qpu_class = "standard"
    async with place.connect(place.server.issue_token("team-a")) as stub:
        job = await stub.SubmitJob(request("key", spec))
        assert (await stub.SubmitJob(request("key", spec))).id == job.id
        place.server.rights.clear()
        place.server.allow("team-a", "create", qpu="dime")
        await asyncio.sleep(2.1)  # refusals are remembered for two seconds
        code, details = await refuse(stub.SubmitJob(request("key", spec)))
        assert code is DENIED
        assert "on QPU penny" in details


@pytest.mark.parametrize("loss", ["right", "token"])
async def test_a_silent_stream_ends_when_its_right_does(place: Place, loss: str) -> None:
    place.server.allow("team-a", *ALL)
    token = place.server.issue_token("team-a")
    place.coins.by_name["penny"].available.clear()
    async with place.connect(token) as stub:
        job = await stub.SubmitJob(request("key", coin_spec([[1.0]], qpu="penny")))
        reading = asyncio.create_task(stream(stub, job.id))
        await asyncio.sleep(1.0)
        assert not reading.done()
        if loss == "right":
            place.server.rights.clear()
        else:
            place.server.revoke_token(token)
        start = time.monotonic()
        code, _ = await refuse(asyncio.wait_for(reading, 10))
        assert code is (DENIED if loss == "right" else NOBODY)
        assert time.monotonic() - start < 2


async def test_a_busy_stream_ends_when_its_right_does(place: Place) -> None:
    place.server.allow("team-a", *ALL)
    coin = place.coins.by_name["penny"]
    coin.rows_per_chunk = 1
    sent = 0
    async with place.connect(place.server.issue_token("team-a")) as stub:

        def slow(chunk: gateway_pb2.ResultChunk) -> None:
            time.sleep(0.005)

        coin.chunk_hook = slow
        job = await stub.SubmitJob(request("key", coin_spec([[1.0] * 2000], qpu="penny")))

        async def read() -> None:
            nonlocal sent
            async for _ in stub.StreamResults(gateway_pb2.StreamResultsRequest(id=job.id)):
                sent += 1
                if sent == 20:
                    place.server.rights.clear()

        assert (await refuse(read()))[0] is DENIED
    assert 20 <= sent < 1000


async def test_a_stream_bridges_a_short_absence_of_the_api_server(tmp_path: Path) -> None:
    async with serve_place(tmp_path, accepted_seconds=0.2, check_seconds=1.0) as place:
        place.server.allow("team-a", *ALL)
        place.coins.by_name["penny"].available.clear()
        async with place.connect(place.server.issue_token("team-a")) as stub:
            job = await stub.SubmitJob(request("key", coin_spec([[1.0]], qpu="penny")))
            reading = asyncio.create_task(stream(stub, job.id))
            await until(lambda: len(place.server.token_reviews) > 1)
            await place.server.__aexit__(None, None, None)
            await asyncio.sleep(0.3)
            assert not reading.done()
            code, details = await refuse(stub.GetJob(gateway_pb2.GetJobRequest(id=job.id)))
            assert code is UNAVAILABLE
            assert "Try again" in details
            async with place.server:
                await asyncio.sleep(1.1)
                place.coins.by_name["penny"].available.set()
                final = await asyncio.wait_for(reading, 10)
                assert final.state == gateway_pb2.JOB_STATE_SUCCEEDED


async def test_what_access_decides_is_counted(place: Place) -> None:
    async def read() -> dict[tuple[str, str], float]:
        url = f"http://127.0.0.1:{place.gateway.metrics_port}/metrics"
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            families = list(text_string_to_metric_families(await response.text()))
        prefix = "kubeqpu_gateway_"
        return {
            (family.name.removeprefix(prefix), sample.labels["result"]): sample.value
            for family in families
            if family.name in {f"{prefix}authentications", f"{prefix}authorisations"}
            for sample in family.samples
            if sample.name.endswith("_total")
        }

    results = ("accepted", "refused", "unavailable")
    kinds = ("authentications", "authorisations")
    assert await read() == {(kind, result): 0 for kind in kinds for result in results}
    place.server.allow("team-a", "create")
    async with place.connect(place.server.issue_token("team-a")) as stub:
        job = await stub.SubmitJob(request("key", coin_spec([[1.0]], qpu="penny")))
        await refuse(stub.GetJob(gateway_pb2.GetJobRequest(id=job.id)))
    async with place.connect(None) as stub:
        await refuse(stub.ListQPUs(gateway_pb2.ListQPUsRequest()))
    assert await read() == {
        ("authentications", "accepted"): 2,
        ("authentications", "refused"): 1,
        ("authentications", "unavailable"): 0,
        ("authorisations", "accepted"): 1,
        ("authorisations", "refused"): 1,
        ("authorisations", "unavailable"): 0,
    }
