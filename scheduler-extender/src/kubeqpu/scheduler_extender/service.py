"""Puts the parts together and runs them."""

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, closing

import structlog
from kubernetes.aio import client
from prometheus_client import CollectorRegistry

from kubeqpu.common.metrics import MetricsServer
from kubeqpu.common.serve import until_stopped
from kubeqpu.kube.connection import open_api_client
from kubeqpu.kube.objects import ObjectsAPI
from kubeqpu.kube.probes import find_nothing, serve_probes
from kubeqpu.scheduler_extender.activity import Activity
from kubeqpu.scheduler_extender.cache import Cache
from kubeqpu.scheduler_extender.events import EventQueue
from kubeqpu.scheduler_extender.explainer import Explainer
from kubeqpu.scheduler_extender.placements import Placements
from kubeqpu.scheduler_extender.server import Server
from kubeqpu.scheduler_extender.settings import ExtenderSettings
from kubeqpu.scheduler_extender.telemetry import Telemetry
from kubeqpu.scheduler_extender.waker import Waker

_LOG = structlog.get_logger(__name__)

FIELD_MANAGER = "kubeqpu-scheduler-extender"
_DRAIN_SECONDS = 0.5


class Ports:
    """Where the extender listens, once it does.

    Attributes:
        extender: The scheduler's port.
        health: Port of health.
        metrics: Port of metrics.
    """

    def __init__(self, extender: int, health: int, metrics: int) -> None:
        self.extender = extender
        self.health = health
        self.metrics = metrics


async def run_extender(settings: ExtenderSettings) -> None:
    """Runs the extender until SIGTERM or SIGINT.

    Raises:
        NoClusterError: If there is no API server to connect to.
        OSError: If a port is taken.
    """
    async with open_api_client() as api_client, serve_extender(settings, api_client) as ports:
        _quieten_collector()
        _LOG.info("Extender started", port=ports.extender, health_port=ports.health,
                  metrics_port=ports.metrics)  # fmt: skip
        await until_stopped()
    _LOG.info("Extender stopped")


def _quieten_collector() -> None:
    """Has the collector of cycles look rarely.

    An answer about 5,000 nodes is thousands of objects that are gone right after it, without a
    cycle; the collector would look through all QPUs because of them, for tens of milliseconds.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 20)


@asynccontextmanager
async def serve_extender(
    settings: ExtenderSettings, api_client: client.ApiClient
) -> AsyncIterator[Ports]:
    """Runs the extender while the context is open; gives its ports.

    Args:
        settings: The settings.
        api_client: The connection to the API server.
    """
    registry = CollectorRegistry()
    telemetry = Telemetry(registry)
    objects = ObjectsAPI(api_client, FIELD_MANAGER)
    cache = Cache(objects, telemetry, settings.silence_seconds, settings.outage_seconds)
    placements = Placements(cache, telemetry, settings.best_nodes)
    activity = Activity()
    events = EventQueue(objects, telemetry, activity, settings.pod_name)
    explainer = Explainer(
        objects,
        placements,
        events,
        telemetry,
        activity,
        settings.scheduler_name,
        settings.orphan_seconds,
    )
    waker = Waker(objects, placements.wakeups, cache.changed, telemetry)
    server = Server(placements, telemetry, activity, settings.request_timeout_seconds)
    telemetry.follow(
        {
            "cache_age": cache.age_seconds,
            "ready": lambda: float(not cache.find_fault()),
            "qpus": lambda: float(len(cache.fleet)),
            "classes": lambda: float(len(cache.classes)),
            "tables": lambda: float(placements.tables),
            "waiting": lambda: float(len(placements.wakeups)),
            "unexplained": lambda: float(len(explainer)),
        }
    )
    async with AsyncExitStack() as stack:
        metrics = MetricsServer(registry, settings.metrics_address, settings.metrics_port)
        stack.enter_context(closing(metrics))
        health = await stack.enter_async_context(
            serve_probes(
                {"/healthz": find_nothing, "/readyz": cache.find_fault},
                settings.health_address,
                settings.health_port,
            )
        )
        loops = (cache.run, events.run, waker.run, explainer.run)
        await stack.enter_async_context(_running(*loops))
        stack.push_async_callback(events.drain, _DRAIN_SECONDS)
        stack.push_async_callback(explainer.drain, _DRAIN_SECONDS)
        port = await stack.enter_async_context(server.serve(settings.address, settings.port))
        yield Ports(port, health, metrics.port)


@asynccontextmanager
async def _running(*loops: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    tasks = [asyncio.ensure_future(loop()) for loop in loops]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
