"""The controller: watches, judges, labels nodes and makes the default class, while it leads."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog
from kubernetes.aio import client
from prometheus_client import CollectorRegistry

from kubeqpu.admission.catalogue import Catalogue
from kubeqpu.admission.checks.registry import CONTROLLER
from kubeqpu.admission.checks.service import Checks
from kubeqpu.admission.checks.telemetry import CheckTelemetry
from kubeqpu.admission.classes import DefaultClass
from kubeqpu.admission.cluster import FIELD_MANAGER, Cluster
from kubeqpu.admission.elector import Elector
from kubeqpu.admission.gates.keeper import FIELD_MANAGER as GATES_MANAGER
from kubeqpu.admission.gates.keeper import GateKeeper
from kubeqpu.admission.gates.telemetry import GateTelemetry
from kubeqpu.admission.health import Limits, Moment
from kubeqpu.admission.labeller import NodeLabeller
from kubeqpu.admission.leases import Lease
from kubeqpu.admission.liveness import serve_health
from kubeqpu.admission.loops import Loop, Progress
from kubeqpu.admission.monitor import Monitor
from kubeqpu.admission.nodes import FIELD_MANAGER as LABELS_MANAGER
from kubeqpu.admission.observations import Observations
from kubeqpu.admission.pool.pool import FIELD_MANAGER as POOL_MANAGER
from kubeqpu.admission.pool.pool import PoolOptions, QuotaPool
from kubeqpu.admission.pool.supply import Supply
from kubeqpu.admission.pool.telemetry import PoolTelemetry
from kubeqpu.admission.presence import Presence
from kubeqpu.admission.settings import ControllerSettings
from kubeqpu.admission.telemetry import Telemetry
from kubeqpu.admission.watch import LeaseWatch
from kubeqpu.common.metrics import MetricsServer
from kubeqpu.common.serve import until_stopped
from kubeqpu.kube.connection import open_api_client
from kubeqpu.kube.objects import ObjectsAPI
from kubeqpu.kube.resources import QPU_CLASSES, WORKLOADS

_LOG = structlog.get_logger(__name__)
# A round is a few requests of some seconds each; some wait for long between their looks.
_STALL_SECONDS = {
    "election": 30.0, "health": 60.0, "classes": 360.0, "labels": 240.0,
    "gates": 60.0, "notes": 60.0, "checks": 60.0, "pool": 60.0,
}  # fmt: skip

_Task = Callable[[], Coroutine[None, None, None]]


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
        catalogue = Catalogue(ObjectsAPI(api_client, FIELD_MANAGER))
        kueue = Presence(ObjectsAPI(api_client, FIELD_MANAGER), WORKLOADS)
        kueue.listen(telemetry.show_kueue)
        parts = _Parts(settings, api_client, elector, catalogue, progress, telemetry)
        tasks = (
            *_watch_health(parts, cluster),
            *_label_nodes(parts),
            *_keep_gates(parts, registry),
            kueue.run,
            *_check_workloads(parts, kueue, registry),
            *_keep_pool(parts, kueue, registry),
        )
        with closing(server):
            async with serve_health(
                progress.find_stalled, settings.health_address, settings.health_port
            ) as health_port:
                _LOG.info("Controller started", identity=identity, health_port=health_port,
                          metrics_port=server.port)  # fmt: skip
                async with _running(catalogue.run, *tasks):
                    await until_stopped()
                # Nothing of ours writes any more, so that a successor may.
                await elector.release()
    _LOG.info("Controller stopped", identity=identity)


@dataclass(frozen=True)
class _Parts:
    """What every task of the controller is made from."""

    settings: ControllerSettings
    api_client: client.ApiClient
    elector: Elector
    catalogue: Catalogue
    progress: Progress
    telemetry: Telemetry

    def loop(self, name: str, step: Callable[[], Awaitable[float]]) -> Loop:
        return Loop(name, step, self.progress, self.telemetry)


def _watch_health(parts: _Parts, cluster: Cluster) -> tuple[_Task, ...]:
    """Election, the health of gateways, the default class."""
    settings, elector, telemetry = parts.settings, parts.elector, parts.telemetry
    limits = Limits(settings.lease_duration_seconds, settings.clock_skew_seconds)
    observations = Observations(limits, tell_time)
    parts.catalogue.follow_qpus(
        observations.see_qpus, observations.see_qpu, observations.forget_qpu
    )
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
    election = parts.loop("election", elector.step)
    classes = parts.loop("classes", default_class.step)
    parts.catalogue.listen(classes.wake, QPU_CLASSES)

    def look_at_lease(lease: Lease) -> None:
        if lease.name == settings.lease and not lease.holder:
            election.wake()

    watch = LeaseWatch(
        ObjectsAPI(parts.api_client, FIELD_MANAGER),
        observations,
        namespace=settings.namespace,
        on_lease=look_at_lease,
    )
    health = parts.loop("health", monitor.step)
    return (election.run, classes.run, health.run, watch.run)


def _label_nodes(parts: _Parts) -> tuple[_Task, ...]:
    objects = ObjectsAPI(parts.api_client, LABELS_MANAGER)
    labeller = NodeLabeller(objects, parts.elector.is_leader, parts.telemetry)
    labels = parts.loop("labels", labeller.step)
    labeller.wake_by(labels.wake)
    parts.catalogue.follow_qpus(labeller.see_all, labeller.see, labeller.forget)
    return (labels.run,)


def _keep_gates(parts: _Parts, registry: CollectorRegistry) -> tuple[_Task, ...]:
    keeper = GateKeeper(
        ObjectsAPI(parts.api_client, GATES_MANAGER),
        parts.catalogue,
        parts.elector.is_leader,
        parts.telemetry,
        GateTelemetry(registry),
        instance=parts.settings.pod_name,
    )
    gates = parts.loop("gates", keeper.step)
    notes = parts.loop("notes", keeper.tell)
    keeper.wake_by(gates.wake)
    return (*keeper.tasks(), gates.run, notes.run)


def _check_workloads(
    parts: _Parts, kueue: Presence, registry: CollectorRegistry
) -> tuple[_Task, ...]:
    checks = Checks(
        ObjectsAPI(parts.api_client, CONTROLLER),
        parts.catalogue,
        parts.elector.is_leader,
        parts.telemetry,
        CheckTelemetry(registry),
    )
    loop = parts.loop("checks", checks.step)
    checks.wake_by(loop.wake)
    return (loop.run, lambda: kueue.attend(checks.run))


def _keep_pool(parts: _Parts, kueue: Presence, registry: CollectorRegistry) -> tuple[_Task, ...]:
    settings = parts.settings
    objects = ObjectsAPI(parts.api_client, POOL_MANAGER)
    supply = Supply(objects)
    pool = QuotaPool(
        objects,
        supply,
        parts.elector.is_leader,
        parts.telemetry,
        PoolTelemetry(registry),
        PoolOptions(settings.owner, settings.pool_lower_seconds, settings.pod_name),
    )
    loop = parts.loop("pool", pool.step)
    supply.tell_by(loop.wake)
    parts.catalogue.follow_qpus(supply.see_qpus, supply.see_qpu, supply.forget_qpu)
    return (loop.run, lambda: kueue.attend(supply.run))


@asynccontextmanager
async def _running(*tasks: _Task) -> AsyncIterator[None]:
    begun = [asyncio.create_task(task()) for task in tasks]
    try:
        yield
    finally:
        for task in begun:
            task.cancel()
        await asyncio.gather(*begun, return_exceptions=True)
