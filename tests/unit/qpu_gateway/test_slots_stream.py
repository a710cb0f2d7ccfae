"""A device plugin's stream whose token ends, over a real connection."""

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest

from kubeqpu.proto.v1 import slots_pb2, slots_pb2_grpc
from kubeqpu.qpu_gateway.access import Caller, EmbeddedAccess, Pod
from kubeqpu.qpu_gateway.access.callers import Metadata
from kubeqpu.qpu_gateway.errors import (
    ClusterUnavailableError,
    GatewayError,
    UnauthenticatedError,
)
from kubeqpu.qpu_gateway.interceptor import ErrorInterceptor
from kubeqpu.qpu_gateway.settings import ClusterSettings
from kubeqpu.qpu_gateway.slots.service import SlotsService
from kubeqpu.qpu_gateway.telemetry import Telemetry
from tests.integration.gateway_support import until
from tests.support.slot_keeper import Stand, stand
from tests.support.slots import ACCOUNT, cluster_section


class Door(EmbeddedAccess):
    """Knows the device plugin of node a, as long as nothing is wrong."""

    def __init__(self) -> None:
        self.wrong: GatewayError | None = None
        self.asked = 0

    async def identify(self, metadata: Metadata) -> Caller:
        self.asked += 1
        if self.wrong is not None:
            raise self.wrong
        user = f"system:serviceaccount:{':'.join(ACCOUNT)}"
        return Caller(ACCOUNT[0], user, pod=Pod("plugin", "uid", "a"))


@pytest.fixture
async def made() -> AsyncIterator[Stand]:
    async with stand() as found:
        yield found


async def test_a_stream_ends_with_its_token_and_bridges_an_api_server_that_is_away(
    made: Stand,
) -> None:
    door, telemetry = Door(), Telemetry(["q"])
    cluster = ClusterSettings.model_validate(cluster_section())
    service = SlotsService(cluster, made.keeper, telemetry, door, check_seconds=0.05)
    server = grpc.aio.server(interceptors=[ErrorInterceptor(telemetry)])
    slots_pb2_grpc.add_SlotsServicer_to_server(service, server)
    port = server.add_insecure_port("localhost:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"localhost:{port}") as channel:
        call = slots_pb2_grpc.SlotsStub(channel).Sync()
        await call.write(slots_pb2.SyncRequest(node="a"))
        # Its slots, or that it has none yet.
        assert isinstance(await call.read(), slots_pb2.SyncResponse)
        door.wrong = ClusterUnavailableError("away")
        asked = door.asked
        await until(lambda: door.asked >= asked + 3)
        assert made.keeper.find_stream("a") is not None
        door.wrong = UnauthenticatedError("The token has expired.")

        async def read_on() -> None:
            while await call.read() is not grpc.aio.EOF:
                pass

        with pytest.raises(grpc.aio.AioRpcError, match="has expired") as ended:
            await asyncio.wait_for(read_on(), 5)
        assert ended.value.code() is grpc.StatusCode.UNAUTHENTICATED
        await until(lambda: made.keeper.find_stream("a") is None)
    await server.stop(None)
