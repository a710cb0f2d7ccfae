"""The gateway's certificate: what callers see, before and after its files change."""

import asyncio
import os
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest
import trustme

from kubeqpu.qpu_gateway.settings import ConfigurationError, TLSSettings
from kubeqpu.qpu_gateway.tls import Certificate

AUTHORITY = trustme.CA()


def write(directory: Path, name: str = "gateway.test") -> TLSSettings:
    """Writes a new pair as a mounted Secret changes: each file replaced at once."""
    issued = AUTHORITY.issue_cert(name)
    chain = b"".join(blob.bytes() for blob in issued.cert_chain_pems)
    put(directory / "tls.key", issued.private_key_pem.bytes())
    put(directory / "tls.crt", chain)
    return TLSSettings(certificate=directory / "tls.crt", key=directory / "tls.key")


def put(path: Path, data: bytes) -> None:
    path.with_suffix(".new").write_bytes(data)
    os.replace(path.with_suffix(".new"), path)


@asynccontextmanager
async def serve(settings: TLSSettings) -> AsyncIterator[int]:
    server = grpc.aio.server()
    port = server.add_secure_port("127.0.0.1:0", Certificate(settings).credentials())
    await server.start()
    yield port
    await server.stop(None)


async def see(port: int, name: str = "gateway.test") -> bytes:
    """Returns the certificate that a new connection is shown, checked as a client would."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["h2"])
    AUTHORITY.configure_trust(context)
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=name)
    shown: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    # The server may be sending still, of which TLS would complain in a polite goodbye.
    writer.transport.abort()
    return shown


async def test_a_renewed_certificate_is_shown_to_new_connections(tmp_path: Path) -> None:
    async with serve(write(tmp_path)) as port:
        first = await see(port)
        assert await see(port) == first
        write(tmp_path)
        second = await see(port)
        assert second != first
        assert await see(port) == second


async def test_a_half_written_pair_changes_nothing_until_it_is_whole(tmp_path: Path) -> None:
    settings = write(tmp_path)
    async with serve(settings) as port:
        first = await see(port)
        put(settings.certificate, b"-----BEGIN CERTIFICATE-----\n")
        assert await see(port) == first
        settings.key.unlink()
        assert await see(port) == first
        write(tmp_path)
        assert await see(port) != first


def test_a_key_of_another_certificate_is_refused_at_start(tmp_path: Path) -> None:
    settings = write(tmp_path)
    put(settings.key, AUTHORITY.issue_cert("other.test").private_key_pem.bytes())
    with pytest.raises(ConfigurationError, match="its own key"):
        Certificate(settings)


def test_a_missing_certificate_is_named(tmp_path: Path) -> None:
    settings = TLSSettings(certificate=tmp_path / "tls.crt", key=tmp_path / "tls.key")
    with pytest.raises(ConfigurationError, match=r"tls\.crt .*No such file"):
        Certificate(settings)
