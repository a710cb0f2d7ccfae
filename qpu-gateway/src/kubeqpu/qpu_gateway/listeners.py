"""The gateway's gRPC servers and the addresses they listen on."""

from collections.abc import Callable, Sequence

import grpc

from kubeqpu.qpu_gateway.settings import ConfigurationError, GatewaySettings
from kubeqpu.qpu_gateway.tls import Certificate


def make_server(
    settings: GatewaySettings, interceptors: Sequence[grpc.aio.ServerInterceptor]
) -> grpc.aio.Server:
    """Makes the server that callers meet; it listens nowhere yet."""
    largest = settings.limits.max_message_bytes
    return grpc.aio.server(
        interceptors=list(interceptors),
        options=[
            ("grpc.max_receive_message_length", largest),
            ("grpc.max_send_message_length", largest),
            # Two gateways on one port would take turns in answering.
            ("grpc.so_reuseport", 0),
            # Clients ping silent streams to find a dead gateway; gRPC's default is to drop those
            # that do so more often than every five minutes.
            ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        ],
    )


def make_health_server() -> grpc.aio.Server:
    """Makes the server for a kubelet's probe, which speaks no TLS and has no token."""
    return grpc.aio.server(options=[("grpc.so_reuseport", 0)])


def listen(server: grpc.aio.Server, address: str, certificate: Certificate | None = None) -> str:
    """Lets a server listen on an address; over TLS if there is a certificate.

    Returns:
        The address, with its port if the system chose it.

    Raises:
        ConfigurationError: If it cannot be listened on.
    """
    if certificate is None or address.startswith("unix:"):
        return _bind(address, lambda: server.add_insecure_port(address))
    credentials = certificate.credentials()
    return _bind(address, lambda: server.add_secure_port(address, credentials))


def _bind(address: str, add_port: Callable[[], int]) -> str:
    try:
        port = add_port()
    except RuntimeError as error:
        raise ConfigurationError(
            f"The gateway cannot listen on {address}; it may be in use. Choose another address."
        ) from error
    return address if address.startswith("unix:") else f"{address.rpartition(':')[0]}:{port}"
