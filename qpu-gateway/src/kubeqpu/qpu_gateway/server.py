"""Puts the gateway together and serves it."""

import asyncio
import contextlib
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Self

import grpc
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from kubeqpu.common.metrics import MetricsServer
from kubeqpu.common.placement import PlacementClass
from kubeqpu.common.serve import until_stopped
from kubeqpu.proto.v1 import gateway_pb2, gateway_pb2_grpc, slots_pb2_grpc
from kubeqpu.qpu_gateway.access import Access, EmbeddedAccess
from kubeqpu.qpu_gateway.cancelling import Canceller
from kubeqpu.qpu_gateway.dispatcher import Dispatcher
from kubeqpu.qpu_gateway.errors import GatewayError, StoreTakenOverError
from kubeqpu.qpu_gateway.feed import Feed
from kubeqpu.qpu_gateway.inspections import RememberingInspector
from kubeqpu.qpu_gateway.interceptor import ErrorInterceptor
from kubeqpu.qpu_gateway.listeners import listen, make_health_server, make_server
from kubeqpu.qpu_gateway.qpus import ProviderFactory, QPUs, load_factories
from kubeqpu.qpu_gateway.service import GatewayService
from kubeqpu.qpu_gateway.settings import ConfigurationError, GatewaySettings
from kubeqpu.qpu_gateway.store import Store, choose_database
from kubeqpu.qpu_gateway.submission import Inspector, Submission
from kubeqpu.qpu_gateway.telemetry import Telemetry
from kubeqpu.qpu_gateway.tls import Certificate
from kubeqpu.qpu_gateway.workers import WorkerPool

if TYPE_CHECKING:
    from kubernetes.aio import client

    from kubeqpu.qpu_gateway.cluster.membership import Membership

_LOG = structlog.get_logger(__name__)

SERVICE = gateway_pb2.DESCRIPTOR.services_by_name["Gateway"].full_name


class Gateway:
    """One gateway: server, store, dispatcher and the providers of its QPUs.

    Use it as an asynchronous context manager, or call `start` and `stop`.

    Args:
        settings: Its settings.
        factories: Providers by name; None takes those installed.
        inspector: Loads and describes circuits; None does it in worker processes.
        access: Knows callers and their rights where there is no cluster to ask; None believes
            everybody.
        api_client: An open connection to the API server; None opens one where `cluster` is set.

    Attributes:
        failed: Set when this process cannot go on and another has to take its place.

    Raises:
        ConfigurationError: If a QPU's provider or options are wrong, or the database cannot be
            used.
    """

    def __init__(
        self,
        settings: GatewaySettings,
        factories: Mapping[str, ProviderFactory] | None = None,
        inspector: Inspector | None = None,
        access: Access | None = None,
        api_client: "client.ApiClient | None" = None,
    ) -> None:
        self._api_client = api_client
        self._settings = settings
        self._access = access or EmbeddedAccess()
        self._workers = WorkerPool(settings.workers)
        self._inspector = inspector or self._workers
        self._qpus = QPUs(settings.qpus, factories or load_factories(), self._workers)
        self._telemetry = Telemetry(self._qpus)
        self._store = Store(
            choose_database(settings), settings.limits, on_commit=self._telemetry.observe_commit
        )
        self._feed = Feed(self._store)
        self._dispatcher = Dispatcher(
            self._qpus, self._store, self._feed, self._telemetry, settings.batch_seconds
        )
        self._health = health.aio.HealthServicer()
        self._certificate = None if settings.tls is None else Certificate(settings.tls)
        self._servers: list[grpc.aio.Server] = []
        self._cluster = contextlib.AsyncExitStack()
        self._membership: Membership | None = None
        self._metrics: MetricsServer | None = None
        self._background: list[asyncio.Task[None]] = []
        self._stopped = False
        self.failed = asyncio.Event()
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
        await self._report(health_pb2.HealthCheckResponse.NOT_SERVING)
        if self._settings.health_listen is not None:
            await self._serve_health(self._settings.health_listen)
        # A database on a server may be away for long, and health says so meanwhile.
        await self._store.open()
        access, classes = self._access, self._settings.placement_classes()
        if self._settings.cluster is not None:
            # Half of the time that a gateway takes to start, and a local one needs none of it.
            from kubeqpu.qpu_gateway.cluster.membership import join  # noqa: PLC0415

            joining = join(
                self._settings,
                self._settings.cluster,
                self._qpus,
                self._telemetry,
                self._store,
                self._api_client,
            )
            self._membership = await self._cluster.enter_async_context(joining)
            access, classes = self._membership.access, self._membership.classes
        server = self._make_server(access, classes)
        self._servers.append(server)
        addresses = [listen(server, item, self._certificate) for item in self._settings.listen]
        if self._settings.metrics_port is not None:
            self._metrics = self._serve_metrics(self._settings.metrics_port)
        for qpu in self._qpus.values():
            qpu.start()
        if self._membership is not None:
            await self._membership.start(
                Canceller(self._store, self._dispatcher, self._feed, self._telemetry)
            )
        await self._dispatcher.start()
        self._background = [asyncio.create_task(self._sweep())]
        if self._inspector is self._workers:
            self._background.append(asyncio.create_task(self._warm_up()))
        await server.start()
        await self._report(health_pb2.HealthCheckResponse.SERVING)
        self.addresses = tuple(addresses)
        _LOG.info("Gateway started", addresses=addresses, qpus=list(self._qpus))

    async def stop(self) -> None:
        """Takes nothing more, lets running batches finish within the grace, and closes.

        Stopping again does nothing.
        """
        if self._stopped:
            return
        self._stopped = True
        await self._health.enter_graceful_shutdown()
        if self._membership is not None:
            await self._membership.stop()
        grace = self._settings.stop_grace_seconds
        # New calls are refused from here on; streams go on while batches finish.
        serving = [asyncio.create_task(each.stop(grace + 1.0)) for each in self._servers]
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        await self._dispatcher.stop(grace)
        self._feed.close()
        await asyncio.gather(*serving)
        await asyncio.gather(*(qpu.close() for qpu in self._qpus.values()))
        await self._workers.close()
        await asyncio.to_thread(self._store.close)
        if self._metrics is not None:
            await asyncio.to_thread(self._metrics.close)
        await self._cluster.aclose()
        _LOG.info("Gateway stopped")

    @property
    def metrics_port(self) -> int | None:
        """Port of the Prometheus endpoint, or None."""
        return None if self._metrics is None else self._metrics.port

    def _make_server(
        self, access: Access, classes: Mapping[str, PlacementClass]
    ) -> grpc.aio.Server:
        server = make_server(self._settings, [ErrorInterceptor(self._telemetry)])
        submission = Submission(
            self._settings,
            classes,
            self._qpus,
            self._store,
            RememberingInspector(self._inspector),
            self._dispatcher,
            self._telemetry,
            access=access,
        )
        service = GatewayService(
            self._settings,
            self._qpus,
            self._store,
            submission,
            self._dispatcher,
            self._feed,
            self._telemetry,
            access=access,
        )
        gateway_pb2_grpc.add_GatewayServicer_to_server(service, server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        if self._membership is not None and self._membership.slots is not None:
            slots_pb2_grpc.add_SlotsServicer_to_server(self._membership.slots, server)
        return server

    async def _report(self, status: health_pb2.HealthCheckResponse.ServingStatus) -> None:
        for service in ("", SERVICE):
            await self._health.set(service, status)

    async def _serve_health(self, address: str) -> None:
        server = make_health_server()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        self.health_address = listen(server, address)
        self._servers.append(server)
        await server.start()

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
            except StoreTakenOverError as error:
                _LOG.warning("Database was taken over", reason=str(error))
                self.failed.set()
                return
            except GatewayError as error:
                _LOG.warning("Sweep failed", reason=str(error))
            except Exception:
                _LOG.exception("Sweep failed")
            await asyncio.sleep(self._settings.sweep_interval_seconds)


async def serve(settings: GatewaySettings) -> None:
    """Runs a gateway until SIGTERM or SIGINT.

    Raises:
        ConfigurationError: If the settings cannot be used, or another process took over.
    """
    gateway = Gateway(settings)
    # From the beginning: starting may take as long as the database is away.
    stopped = asyncio.create_task(until_stopped())
    starting = asyncio.create_task(gateway.start())
    failed = asyncio.create_task(gateway.failed.wait())
    try:
        await asyncio.wait({starting, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            await starting
            await asyncio.wait({stopped, failed}, return_when=asyncio.FIRST_COMPLETED)
        if failed.done():
            raise ConfigurationError(
                "Another gateway took the database over; run one process per gateway."
            )
    finally:
        for task in (starting, stopped, failed):
            task.cancel()
        await asyncio.gather(starting, stopped, failed, return_exceptions=True)
        await gateway.stop()
