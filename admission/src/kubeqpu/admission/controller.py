"""The controller: watches, judges, labels nodes and makes the default class, while it leads."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime

import structlog
from prometheus_client import CollectorRegistry

from kubeqpu.admission.classes import DefaultClass
from kubeqpu.admission.cluster import Cluster
from kubeqpu.admission.elector import Elector
from kubeqpu.admission.health import Limits, Moment
from kubeqpu.admission.labeller import NodeLabeller
from kubeqpu.admission.leases import Lease
from kubeqpu.admission.liveness import serve_health
from kubeqpu.admission.loops import Loop, Progress
from kubeqpu.admission.monitor import Monitor
from kubeqpu.admission.nodes import FIELD_MANAGER
from kubeqpu.admission.observations import Observations
from kubeqpu.admission.settings import ControllerSettings
from kubeqpu.admission.telemetry import Telemetry
from kubeqpu.admission.watch import Watch
from kubeqpu.common.metrics import MetricsServer
from kubeqpu.common.serve import until_stopped
from kubeqpu.kube.connection import open_api_client
from kubeqpu.kube.objects import ObjectsAPI

_LOG = structlog.get_logger(__name__)
# A round is a few requests of some seconds each; some wait for long between their looks.
_STALL_SECONDS = {
    "election": 30.0, "health": 60.0, "classes": 360.0, "labels": 240.0,
}  # fmt: skip


def tell_time() -> Moment:
    """Tells the time by both clocks."""
    return Moment(time.monotonic(), datetime.now(UTC))


async def run_controller(settings: ControllerSettings) -> None:
    """Runs the controller until SIGTERM or SIGINT.

    Raises:
        NoClusterError: If there is no API server to connect to.
        OSError: If a port is taken.
    """
    registry = CollectorRegistry()
    telemetry = Telemetry(registry)
    progress = Progress(_STALL_SECONDS)
    server = MetricsServer(registry, settings.metrics_address, settings.metrics_port)
    async with open_api_client() as api_client:
        cluster = Cluster(api_client, settings.namespace)
        identity = f"{settings.pod_name}_{uuid.uuid4().hex[:8]}"
        elector = Elector(cluster, settings.lease, identity)
        objects = ObjectsAPI(api_client, FIELD_MANAGER)
        labeller = NodeLabeller(objects, elector.is_leader, telemetry)
        labels = Loop("labels", labeller.step, progress, telemetry)
        loops, watch = _build_loops(settings, cluster, objects, elector, progress, telemetry)
        with closing(server):
            async with serve_health(
                progress.find_stalled, settings.health_address, settings.health_port
            ) as health_port:
                _LOG.info("Controller started", identity=identity, health_port=health_port,
                          metrics_port=server.port)  # fmt: skip
                async with _running((*loops, labels), watch.run(), labeller.watch(labels.wake)):
                    await until_stopped()
                # Nothing of ours writes any more, so that a successor may.
                await elector.release()
    _LOG.info("Controller stopped", identity=identity)


def _build_loops(
    settings: ControllerSettings,
    cluster: Cluster,
    objects: ObjectsAPI,
    elector: Elector,
    progress: Progress,
    telemetry: Telemetry,
) -> tuple[Sequence[Loop], Watch]:
    limits = Limits(settings.lease_duration_seconds, settings.clock_skew_seconds)
    observations = Observations(limits, tell_time)
    telemetry.follow(elector.is_leader, observations.is_blind)
    monitor = Monitor(
        cluster,
        observations,
        limits,
        elector.is_leader,
        telemetry,
        namespace=settings.namespace,
        instance=settings.pod_name,
    )
    default_class = DefaultClass(cluster, elector.is_leader, telemetry)
    election = Loop("election", elector.step, progress, telemetry)
    classes = Loop("classes", default_class.step, progress, telemetry)

    def look_at_lease(lease: Lease) -> None:
        if lease.name == settings.lease and not lease.holder:
            election.wake()

    watch = Watch(
        objects,
        observations,
        namespace=settings.namespace,
        on_lease=look_at_lease,
        on_class=classes.wake,
    )
    health = Loop("health", monitor.step, progress, telemetry)
    return (election, classes, health), watch


@asynccontextmanager
async def _running(
    loops: Sequence[Loop], *others: Coroutine[None, None, None]
) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(one) for one in (*(loop.run() for loop in loops), *others)]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
