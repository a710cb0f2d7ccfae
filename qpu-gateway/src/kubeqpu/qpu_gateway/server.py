"""Puts the gateway together and serves it."""

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self

import grpc
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from kubeqpu.common.metrics import MetricsServer
from kubeqpu.common.serve import until_stopped
from kubeqpu.proto.v1 import gateway_pb2, gateway_pb2_grpc
from kubeqpu.qpu_gateway.access import Access, EmbeddedAccess
from kubeqpu.qpu_gateway.dispatcher import Dispatcher
from kubeqpu.qpu_gateway.errors import GatewayError
from kubeqpu.qpu_gateway.feed import Feed
from kubeqpu.qpu_gateway.inspections import RememberingInspector
from kubeqpu.qpu_gateway.interceptor import ErrorInterceptor
from kubeqpu.qpu_gateway.qpus import ProviderFactory, QPUs, load_factories
from kubeqpu.qpu_gateway.service import GatewayService
from kubeqpu.qpu_gateway.settings import ConfigurationError, GatewaySettings
from kubeqpu.qpu_gateway.store import Store
from kubeqpu.qpu_gateway.submission import Inspector, Submission
from kubeqpu.qpu_gateway.telemetry import Telemetry
from kubeqpu.qpu_gateway.tls import Certificate
from kubeqpu.qpu_gateway.workers import WorkerPool

_LOG = structlog.get_logger(__name__)

SERVICE = gateway_pb2.DESCRIPTOR.services_by_name["Gateway"].full_name


class Gateway:
    """One gateway: server, store, dispatcher and the providers of its QPUs.

    Use it as an asynchronous context manager, or call `start` and `stop`.

    Args:
        settings: Its settings.
        factories: Providers by name; None takes those installed.
        inspector: Loads and describes circuits; None does it in worker processes.
        access: Knows callers and their rights; None believes everybody.

    Raises:
        ConfigurationError: If a QPU's provider or options are wrong, or the data directory cannot
            be used.
    """

    def __init__(
        self,
        settings: GatewaySettings,
        factories: Mapping[str, ProviderFactory] | None = None,
        inspector: Inspector | None = None,
        access: Access | None = None,
    ) -> None:
        self._settings = settings
        self._access = access or EmbeddedAccess()
        self._workers = WorkerPool(settings.workers)
        self._inspector = inspector or self._workers
        self._qpus = QPUs(settings.qpus, factories or load_factories(), self._workers)
        self._telemetry = Telemetry(self._qpus)
        self._store = Store(
            settings.data_dir, settings.limits, on_commit=self._telemetry.observe_commit
        )
        self._feed = Feed(self._store)
        self._dispatcher = Dispatcher(
            self._qpus, self._store, self._feed, self._telemetry, settings.batch_seconds
        )
        self._health = health.aio.HealthServicer()
        self._certificate = None if settings.tls is None else Certificate(settings.tls)
        self._server = self._make_server()
        self._health_server: grpc.aio.Server | None = None
        self._metrics: MetricsServer | None = None
        self._background: list[asyncio.Task[None]] = []
        self._stopped = False
        self.addresses: tuple[str, ...] = ()
        self.health_address: str | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Starts serving; stored jobs go on. `addresses` then has where, ports filled in.

        Raises:
            ConfigurationError: If an address cannot be listened on.
        """
        try:
            await self._start()
        except BaseException:
            await self.stop()
            raise

    async def _start(self) -> None:
        addresses = tuple(self._listen(address) for address in self._settings.listen)
        if self._settings.metrics_port is not None:
            self._metrics = self._serve_metrics(self._settings.metrics_port)
        for qpu in self._qpus.values():
            qpu.start()
        await self._dispatcher.start()
        self._background = [asyncio.create_task(self._sweep())]
        if self._inspector is self._workers:
            self._background.append(asyncio.create_task(self._warm_up()))
        await self._server.start()
        if self._settings.health_listen is not None:
            self._health_server = self._serve_health(self._settings.health_listen)
            await self._health_server.start()
        for service in ("", SERVICE):
            await self._health.set(service, health_pb2.HealthCheckResponse.SERVING)
        self.addresses = addresses
        _LOG.info("Gateway started", addresses=addresses, qpus=list(self._qpus))

    async def stop(self) -> None:
        """Takes nothing more, lets running batches finish within the grace, and closes.

        Stopping again does nothing.
        """
        if self._stopped:
            return
        self._stopped = True
        await self._health.enter_graceful_shutdown()
        grace = self._settings.stop_grace_seconds
        # New calls are refused from here on; streams go on while batches finish.
        serving = asyncio.create_task(self._server.stop(grace + 1.0))
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        await self._dispatcher.stop(grace)
        self._feed.close()
        await serving
        if self._health_server is not None:
            await self._health_server.stop(None)
        await asyncio.gather(*(qpu.close() for qpu in self._qpus.values()))
        await self._workers.close()
        await asyncio.to_thread(self._store.close)
        if self._metrics is not None:
            await asyncio.to_thread(self._metrics.close)
        _LOG.info("Gateway stopped")

    @property
    def metrics_port(self) -> int | None:
        """Port of the Prometheus endpoint, or None."""
        return None if self._metrics is None else self._metrics.port

    def _make_server(self) -> grpc.aio.Server:
        largest = self._settings.limits.max_message_bytes
        server = grpc.aio.server(
            interceptors=[ErrorInterceptor(self._telemetry)],
            options=[
                ("grpc.max_receive_message_length", largest),
                ("grpc.max_send_message_length", largest),
                # Two gateways on one port would take turns in answering.
                ("grpc.so_reuseport", 0),
                # Clients ping silent streams to find a dead gateway; gRPC's default is to drop
                # those that do so more often than every five minutes.
                ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
            ],
        )
        submission = Submission(
            self._settings,
            self._settings.placement_classes(),
            self._qpus,
            self._store,
            RememberingInspector(self._inspector),
            self._dispatcher,
            self._telemetry,
            access=self._access,
        )
        service = GatewayService(
            self._settings,
            self._qpus,
            self._store,
            submission,
            self._dispatcher,
            self._feed,
            self._telemetry,
            access=self._access,
        )
        gateway_pb2_grpc.add_GatewayServicer_to_server(service, server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        return server

    def _listen(self, address: str) -> str:
        if self._certificate is None or address.startswith("unix:"):
            return _bind(address, lambda: self._server.add_insecure_port(address))
        credentials = self._certificate.credentials()
        return _bind(address, lambda: self._server.add_secure_port(address, credentials))

    def _serve_health(self, address: str) -> grpc.aio.Server:
        """Serves what a kubelet's probe asks for, which speaks no TLS and has no token."""
        server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        self.health_address = _bind(address, lambda: server.add_insecure_port(address))
        return server

    def _serve_metrics(self, port: int) -> MetricsServer:
        address = self._settings.metrics_address
        try:
            return MetricsServer(self._telemetry.registry, address, port)
        except OSError as error:
            raise ConfigurationError(
                f"Metrics cannot be served on {address}:{port} ({error.strerror}); choose another "
                "`metrics_port`, or null for none."
            ) from error

    async def _warm_up(self) -> None:
        """Starts the workers ahead of the first job, which would start them otherwise."""
        try:
            await self._workers.start()
        except GatewayError:
            _LOG.exception("Workers failed to start")

    async def _sweep(self) -> None:
        while True:
            try:
                self._telemetry.count_expired(await self._store.delete_expired())
            except GatewayError as error:
                _LOG.warning("Sweep failed", reason=str(error))
            except Exception:
                _LOG.exception("Sweep failed")
            await asyncio.sleep(self._settings.sweep_interval_seconds)


def _bind(address: str, add_port: Callable[[], int]) -> str:
    try:
        port = add_port()
    except RuntimeError as error:
        raise ConfigurationError(
            f"The gateway cannot listen on {address}; it may be in use. Choose another address."
        ) from error
    return address if address.startswith("unix:") else f"{address.rpartition(':')[0]}:{port}"


async def serve(settings: GatewaySettings) -> None:
    """Runs a gateway until SIGTERM or SIGINT.

    Raises:
        ConfigurationError: If the settings cannot be used.
    """
    gateway = Gateway(settings)
    async with contextlib.AsyncExitStack() as stack:
        await gateway.start()
        stack.push_async_callback(gateway.stop)
        await until_stopped()
