"""A served gateway that asks a stand-in who its callers are, and what they may do."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest
import trustme

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
