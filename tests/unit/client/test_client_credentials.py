"""Token and authority of a client: where they come from, who gets them, and what goes wrong."""

import os
import time
from collections.abc import Iterator
from concurrent import futures
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import pytest
import trustme

from kubeqpu.client import (
    AccessDeniedError,
    AsyncGatewayClient,
    CertificateError,
    GatewayClient,
    InvalidRequestError,
    UnavailableError,
)
from kubeqpu.client.connection import find_gateway
from kubeqpu.client.credentials import TokenFile
from kubeqpu.client.settings import ClientSettings, read_settings
from kubeqpu.proto.v1 import gateway_pb2, gateway_pb2_grpc

JOB = gateway_pb2.Job(id="j", qpu="q", state=gateway_pb2.JOB_STATE_SUCCEEDED)


@dataclass
class Doorkeeper(gateway_pb2_grpc.GatewayServicer):
    """A gateway that notes what callers present, and accepts some tokens."""

    seen: list[str | None] = field(default_factory=list)
    accepted: set[str] = field(default_factory=lambda: {"first", "second"})
    hold_seconds: float = 0.0

    def ListQPUs(  # noqa: N802
        self, request: gateway_pb2.ListQPUsRequest, context: grpc.ServicerContext
    ) -> gateway_pb2.ListQPUsResponse:
        self._check(context)
        return gateway_pb2.ListQPUsResponse()

    def StreamResults(  # noqa: N802
        self, request: gateway_pb2.StreamResultsRequest, context: grpc.ServicerContext
    ) -> Iterator[gateway_pb2.StreamResultsResponse]:
        self._check(context)
        time.sleep(self.hold_seconds)
        self._check(context)
        yield gateway_pb2.StreamResultsResponse(job=JOB)

    def _check(self, context: grpc.ServicerContext) -> None:
        sent = dict(context.invocation_metadata()).get("authorization")
        assert sent is None or isinstance(sent, str)
        self.seen.append(sent)
        if sent is not None and sent.removeprefix("Bearer ") not in self.accepted:
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "The call's token is refused.")


@dataclass
class Door:
    """A gateway on a port of this machine and the files of its callers."""

    keeper: Doorkeeper
    address: str
    ca_file: Path
    token_file: Path

    def client(self, **changes: object) -> GatewayClient:
        return GatewayClient(self.address, **(self.files | changes))  # type: ignore[arg-type]

    @property
    def files(self) -> dict[str, object]:
        return {"ca_file": self.ca_file, "token_file": self.token_file, "patience_seconds": 5.0}


def open_door(folder: Path, names: tuple[str, ...], *, tls: bool = True) -> Iterator[Door]:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.crt"))
    (folder / "token").write_text("first\n")
    keeper = Doorkeeper()  # type: ignore[abstract] # two calls are enough here
    server = grpc.server(futures.ThreadPoolExecutor(4))
    gateway_pb2_grpc.add_GatewayServicer_to_server(keeper, server)
    if tls:
        issued = authority.issue_cert(*names)
        pair = (issued.private_key_pem.bytes(), issued.cert_chain_pems[0].bytes())
        port = server.add_secure_port("localhost:0", grpc.ssl_server_credentials([pair]))
    else:
        port = server.add_insecure_port("localhost:0")
    server.start()
    yield Door(keeper, f"localhost:{port}", folder / "ca.crt", folder / "token")
    server.stop(None).wait()


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Door]:
    yield from open_door(tmp_path, ("localhost",))


def replace(path: Path, text: str) -> None:
    """Replaces a file as the kubelet does, at once."""
    fresh = path.with_name("fresh")
    fresh.write_text(text)
    fresh.replace(path)


def test_every_call_brings_the_token_of_the_moment(door: Door) -> None:
    with door.client() as client:
        client.qpus()
        replace(door.token_file, "second\n")
        client.qpus()
    assert door.keeper.seen == ["Bearer first", "Bearer second"]


async def test_so_does_the_async_client(door: Door) -> None:
    async with AsyncGatewayClient(
        door.address, ca_file=door.ca_file, token_file=door.token_file
    ) as client:
        await client.qpus()
        replace(door.token_file, "second\n")
        await client.qpus()
    assert door.keeper.seen == ["Bearer first", "Bearer second"]


def test_a_refused_token_is_told_at_once(door: Door) -> None:
    replace(door.token_file, "bad")
    begin = time.monotonic()
    with door.client() as client, pytest.raises(AccessDeniedError, match="token is refused"):
        client.qpus()
    assert time.monotonic() - begin < 2


def test_a_stream_outlasts_its_token(door: Door) -> None:
    door.keeper.hold_seconds = 0.3

    def expire() -> None:
        time.sleep(0.1)
        replace(door.token_file, "second")
        door.keeper.accepted.discard("first")

    with futures.ThreadPoolExecutor() as pool, door.client() as client:
        done = pool.submit(expire)
        assert not list(client.results("j"))
        done.result()
    assert door.keeper.seen == ["Bearer first"] * 2 + ["Bearer second"] * 2
    door.keeper.accepted.clear()
    with door.client() as client, pytest.raises(AccessDeniedError):
        list(client.results("j"))


async def test_an_async_stream_outlasts_its_token(door: Door) -> None:
    door.keeper.accepted = {"second"}
    async with AsyncGatewayClient(
        door.address, ca_file=door.ca_file, token_file=door.token_file
    ) as client:
        with pytest.raises(AccessDeniedError):
            await client.wait("j")
        replace(door.token_file, "second")
        assert (await client.wait("j")).record.id == "j"


def test_a_token_that_disappears_is_named(door: Door) -> None:
    with door.client() as client:
        client.qpus()
        door.token_file.unlink()
        with pytest.raises(AccessDeniedError, match="cannot be read") as refused:
            client.qpus()
    assert str(door.token_file) in str(refused.value)
    assert "KUBEQPU_TOKEN_FILE" in str(refused.value)
    with pytest.raises(AccessDeniedError, match="cannot be read"):
        door.client()


@pytest.mark.parametrize("content", ["", "\n", "two words", "a\tb", "ü"])
def test_a_file_without_a_token_is_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "token"
    path.write_text(content)
    with pytest.raises(AccessDeniedError, match=r"holds no token|cannot be read") as refused:
        TokenFile(path).read()
    assert len(content) < 3 or content not in str(refused.value)


def test_another_authority_is_told_with_what_to_do(door: Door, tmp_path: Path) -> None:
    other = tmp_path / "other.crt"
    trustme.CA().cert_pem.write_to_path(str(other))
    begin = time.monotonic()
    with (
        door.client(ca_file=other, patience_seconds=30.0) as client,
        pytest.raises(CertificateError, match="another authority signed it"),
    ):
        client.qpus()
    assert time.monotonic() - begin < 5
    assert door.keeper.seen == []


def test_a_certificate_for_another_name_is_told(tmp_path: Path) -> None:
    for door in open_door(tmp_path, ("gateway.elsewhere",)):
        with (
            door.client() as client,
            pytest.raises(CertificateError, match="is for other names"),
        ):
            client.qpus()
        assert door.keeper.seen == []


def test_a_gateway_without_tls_is_told(tmp_path: Path) -> None:
    for door in open_door(tmp_path, (), tls=False):
        with door.client() as client, pytest.raises(CertificateError, match="not speak TLS"):
            client.qpus()
        assert door.keeper.seen == []


async def test_a_certificate_problem_is_told_to_async_callers_too(
    door: Door, tmp_path: Path
) -> None:
    other = tmp_path / "other.crt"
    trustme.CA().cert_pem.write_to_path(str(other))
    async with AsyncGatewayClient(door.address, ca_file=other) as client:
        with pytest.raises(CertificateError, match="another authority"):
            await client.qpus()


def test_plain_text_to_a_gateway_with_tls_gives_a_hint(door: Door) -> None:
    with (
        GatewayClient(door.address, patience_seconds=0.2) as client,
        pytest.raises(UnavailableError, match="If it serves TLS, name its authority"),
    ):
        client.qpus()


def test_no_token_is_sent_in_plain_text(tmp_path: Path) -> None:
    for door in open_door(tmp_path, (), tls=False):
        with pytest.raises(InvalidRequestError, match="in plain text, in which no token is sent"):
            GatewayClient(door.address, token_file=door.token_file)
        found = find_gateway(door.address, None, 1, 1, ClientSettings(token_file=door.token_file))
        assert found.credentials is None


@pytest.mark.parametrize("address", ["gateway:7070", "10.0.0.1:7070", "localhost.evil.org:1"])
def test_a_gateway_elsewhere_needs_an_authority(address: str) -> None:
    with pytest.raises(InvalidRequestError, match="KUBEQPU_CA_FILE"):
        find_gateway(address, None, 1, 1, ClientSettings())


def test_an_authority_that_is_none_is_named(tmp_path: Path) -> None:
    for path, reason in ((tmp_path / "no", "cannot be read"), (tmp_path / "x", "no certificate")):
        (tmp_path / "x").write_text("hello")
        with pytest.raises(InvalidRequestError, match=reason):
            find_gateway("gateway:7070", None, 1, 1, ClientSettings(), ca_file=path)
    with pytest.raises(InvalidRequestError, match="no TLS on unix sockets"):
        find_gateway("unix:/x", None, 1, 1, ClientSettings(), ca_file=tmp_path / "x")


def test_what_pods_have_mounted_is_found(tmp_path: Path) -> None:
    mounts = tmp_path / "var/run/secrets/kubeqpu.io"
    assert read_settings({}, tmp_path) == ClientSettings()
    mounts.mkdir(parents=True)
    (mounts / "token").write_text("first")
    trustme.CA().cert_pem.write_to_path(str(mounts / "ca.crt"))
    settings = read_settings({}, tmp_path)
    assert settings.token_file == mounts / "token"
    found = find_gateway("gateway:7070", None, 1, 1, settings)
    assert found.credentials is not None
    assert found.credentials.token is not None
    assert found.credentials.token.read() == "first"
    # A gateway on this machine need not have to do with what is mounted.
    assert find_gateway("localhost:7070", None, 1, 1, settings).credentials is None
    named = read_settings({"KUBEQPU_TOKEN_FILE": "/t", "KUBEQPU_CA_FILE": "/c"}, tmp_path)
    assert (named.token_file, named.ca_file) == (Path("/t"), Path("/c"))


def test_the_environment_is_enough(door: Door) -> None:
    variables = {
        "KUBEQPU_GATEWAY": door.address,
        "KUBEQPU_CA_FILE": str(door.ca_file),
        "KUBEQPU_TOKEN_FILE": str(door.token_file),
    }
    found = find_gateway(None, None, 5, 5, read_settings(variables, Path(os.devnull)))
    with found.open_channel() as channel:
        gateway_pb2_grpc.GatewayStub(channel).ListQPUs(gateway_pb2.ListQPUsRequest(), timeout=5)
    assert door.keeper.seen == ["Bearer first"]
