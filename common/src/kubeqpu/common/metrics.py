"""Serves Prometheus metrics over HTTP."""

from prometheus_client import CollectorRegistry, start_http_server


class MetricsServer:
    """Serves one registry on `/metrics` from a thread of its own.

    Args:
        registry: What to serve.
        address: Address to listen on.
        port: Port to listen on; 0 lets the system choose.
    """

    def __init__(self, registry: CollectorRegistry, address: str, port: int) -> None:
        self._server, self._thread = start_http_server(port, address, registry)

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._server.server_port)

    def close(self) -> None:
        """Stops serving and frees the port."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
