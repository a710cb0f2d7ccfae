"""The gateway's addresses: TLS for callers, health alone and in the clear for the kubelet."""

from pathlib import Path

import grpc
import pytest
import trustme
from grpc_health.v1 import health_pb2, health_pb2_grpc

from kubeqpu.proto.v1 import gateway_pb2, gateway_pb2_grpc
from tests.integration.gateway_support import Coins, make_settings, serve


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


def tls_section(authority: trustme.CA, folder: Path) -> dict[str, str]:
    issued = authority.issue_cert("localhost")
    issued.private_key_pem.write_to_path(str(folder / "tls.key"))
    issued.cert_chain_pems[0].write_to_path(str(folder / "tls.crt"))
    return {"certificate": str(folder / "tls.crt"), "key": str(folder / "tls.key")}


async def test_callers_are_served_over_tls_alone(authority: trustme.CA, tmp_path: Path) -> None:
    section = tls_section(authority, tmp_path)
    settings = make_settings(tmp_path, listen=("unix:" + str(tmp_path / "s"), "localhost:0"),
                             tls=section)  # fmt: skip
    async with serve(settings, Coins()) as (gateway, _):
        address = gateway.addresses[1]
        trust = grpc.ssl_channel_credentials(authority.cert_pem.bytes())
        async with grpc.aio.secure_channel(address, trust) as channel:
            found = await gateway_pb2_grpc.GatewayStub(channel).ListQPUs(
                gateway_pb2.ListQPUsRequest(), timeout=10
            )
        assert [qpu.name for qpu in found.qpus] == ["coin"]
        async with grpc.aio.insecure_channel(address) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await gateway_pb2_grpc.GatewayStub(channel).ListQPUs(
                    gateway_pb2.ListQPUsRequest(), timeout=10
                )
        assert error.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_the_health_address_serves_health_and_nothing_else(tmp_path: Path) -> None:
    settings = make_settings(tmp_path, health_listen="127.0.0.1:0")
    async with serve(settings, Coins()) as (gateway, _):
        assert gateway.health_address is not None
        async with grpc.aio.insecure_channel(gateway.health_address) as channel:
            answer = await health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(), timeout=10
            )
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await gateway_pb2_grpc.GatewayStub(channel).ListQPUs(
                    gateway_pb2.ListQPUsRequest(), timeout=10
                )
        assert error.value.code() is grpc.StatusCode.UNIMPLEMENTED
