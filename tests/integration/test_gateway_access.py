"""Who may do what at a gateway in a cluster: every call, over TLS, with reviewed tokens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest

from kubeqpu.proto.v1 import gateway_pb2
from tests.integration.gateway_support import (
    coin_spec,
    request,
)

if TYPE_CHECKING:
    pass

from tests.integration.access_support import (
    ALL,
    ALL_CALLS,
    DENIED,
    JOB_CALLS,
    NOBODY,
    NOT_FOUND,
    Place,
    refuse,
    serve_place,
)


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    async with serve_place(tmp_path, accepted_seconds=0.2, check_seconds=0.2) as found:
        yield found


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
