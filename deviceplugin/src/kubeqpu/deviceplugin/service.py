"""The device plugin as a whole: what runs beside each other, and in which order it starts."""

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial

import structlog

from kubeqpu.common.names import RESOURCES
from kubeqpu.common.serve import until_stopped
from kubeqpu.deviceplugin.acting import Acting
from kubeqpu.deviceplugin.board import Board
from kubeqpu.deviceplugin.credentials import CredentialFiles
from kubeqpu.deviceplugin.discovery import Resolver, resolve
from kubeqpu.deviceplugin.gateways import Gateways
from kubeqpu.deviceplugin.holders import Holders
from kubeqpu.deviceplugin.holdings import Holdings
from kubeqpu.deviceplugin.ledger import Ledger
from kubeqpu.deviceplugin.loops import Progress, keep_running
from kubeqpu.deviceplugin.metrics import CONTENT_TYPE, Registry
from kubeqpu.deviceplugin.ownership import Ownership
from kubeqpu.deviceplugin.pages import Page, serve_pages
from kubeqpu.deviceplugin.registration import Registration
from kubeqpu.deviceplugin.settings import Settings
from kubeqpu.deviceplugin.stream import StreamSettings
from kubeqpu.deviceplugin.telemetry import Telemetry

_LOG = structlog.get_logger(__name__)
# How long a start waits for gateways, so that the kubelet's first list is a full one.
_SETTLE_SECONDS = 2.0
_TICK_SECONDS = 0.5


class DevicePlugin:
    """All parts of the device plugin.

    Args:
        settings: Settings.
        registry: Where metrics are registered.
        look_up: Looks the gateways' addresses up.
    """

    def __init__(self, settings: Settings, registry: Registry, look_up: Resolver = resolve) -> None:
        self._telemetry = telemetry = Telemetry(registry)
        self.progress = Progress()
        self._settled = asyncio.Event()
        ledger = Ledger(settings.grace_seconds, settings.forget_seconds)
        self._board = board = Board(ledger, Holdings(settings.trust_seconds), telemetry)
        self._acting = Acting(Ownership(settings.plugin_folder), telemetry)
        self._holders = Holders(
            settings.pod_resources_socket,
            board,
            telemetry,
            settings.trust_seconds,
            beat=lambda: self.progress.beat("holders"),
            is_superseded=lambda: self._acting.is_superseded,
        )
        streams = StreamSettings(
            node=settings.node_name,
            tls_name=settings.tls_name,
            files=CredentialFiles(settings.token_file, settings.ca_file),
            keepalive_seconds=settings.keepalive_seconds,
            silence_seconds=settings.silence_seconds,
            may_connect=self._acting.until_not_superseded,
            gives_way=self._settled.is_set,
        )
        host, port = settings.discovery
        self._gateways = Gateways(
            host,
            partial(look_up, host, port),
            streams,
            board,
            telemetry,
            settings.resolve_seconds,
            beat=lambda: self.progress.beat("gateways"),
        )
        self._registrations = {
            resource: Registration(settings.plugin_folder, resource, board, self._acting, telemetry)
            for resource in RESOURCES
        }
        telemetry.follow(
            lambda: self._gateways.streams,
            lambda: self._gateways.addresses,
            lambda: self._acting.is_superseded,
        )

    def find_missing(self) -> str:
        """Says what keeps it from being ready; empty if nothing does."""
        if not self._settled.is_set():
            return "The kubelet has not said who holds slots.\n"
        waiting = [
            resource
            for resource, registration in self._registrations.items()
            if registration.is_wanted and not registration.is_registered
        ]
        return f"The kubelet does not follow {', '.join(waiting)}.\n" if waiting else ""

    def show_health(self, path: str) -> Page | None:
        """Answers probes.

        `/healthz` is well while every loop goes round: neither a kubelet nor a gateway is healed by
        a restart. `/readyz` is well once the kubelet follows every list there is.
        """
        if path == "/healthz":
            stalled = sorted(self.progress.find_stalled().items())
            wrong = "".join(f"Loop {loop} hangs for {age:.0f} s.\n" for loop, age in stalled)
        elif path == "/readyz":
            wrong = self.find_missing()
        else:
            return None
        return Page(wrong, 503) if wrong else Page("ok\n")

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Runs everything while the context is open."""
        bodies = {
            "ticks": self._tick,
            "holders": self._holders.run,
            "start": self._start,
            "acting": self._acting_loop,
            "gateways": self._gateways_loop,
            **{name: found.run for name, found in self._registrations.items()},
        }
        tasks = [
            asyncio.create_task(keep_running(name, body, self._telemetry))
            for name, body in bodies.items()
        ]
        try:
            yield
        finally:
            await _end(tasks)
            self._acting.stop()

    async def _start(self) -> None:
        """Acts once the kubelet said who holds slots, and gateways had a moment to answer.

        Held slots are listed even if no gateway answers.
        """
        await self._holders.listed.wait()
        try:
            async with asyncio.timeout(_SETTLE_SECONDS):
                await self._holders.known.wait()
                await self._gateways.until_tried()
        except TimeoutError:
            _LOG.warning("Started without all gateways", answered=self._gateways.streams,
                         addresses=self._gateways.addresses)  # fmt: skip
        self._settled.set()
        self._acting.start()

    async def _acting_loop(self) -> None:
        await self._settled.wait()
        await self._acting.run()

    async def _gateways_loop(self) -> None:
        """Speaks to gateways once the holders are known: an empty report would end their rights."""
        await self._holders.known.wait()
        await self._gateways.run()

    async def _tick(self) -> None:
        """Ends graces, and keeps the metrics true."""
        while True:
            if self._board.ledger.is_waiting(time.monotonic()):
                self._board.review()
            self._board.show()
            self.progress.beat("ticks")
            await asyncio.sleep(_TICK_SECONDS)


async def _end(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def run_plugin(settings: Settings) -> None:
    """Runs the device plugin until SIGTERM or SIGINT.

    Raises:
        OSError: If a port is taken.
    """
    # What was imported stays: collections are short without it.
    gc.freeze()
    registry = Registry()
    plugin = DevicePlugin(settings, registry)

    def show_metrics(path: str) -> Page | None:
        known = path == "/metrics"
        return Page(registry.render(), content_type=CONTENT_TYPE) if known else None

    async with (
        serve_pages(plugin.show_health, settings.health_address, settings.health_port) as health,
        serve_pages(show_metrics, settings.metrics_address, settings.metrics_port) as metrics,
    ):
        _LOG.info("Device plugin started", node=settings.node_name, health_port=health,
                  metrics_port=metrics)  # fmt: skip
        async with plugin.running():
            await until_stopped()
    _LOG.info("Device plugin stopped", node=settings.node_name)
