"""The gateway's QPUs as API objects: registered, alive by their Leases, their state reported."""

import asyncio
from collections.abc import Coroutine, Mapping

import structlog
from kubernetes.aio import client

from kubeqpu.common import api
from kubeqpu.kube.errors import APIServerError
from kubeqpu.kube.objects import ObjectsAPI
from kubeqpu.kube.resources import QPUS, Manifest, Selection, name_of, version_of
from kubeqpu.kube.watches import ObjectWatch
from kubeqpu.qpu_gateway.cluster.manifests import FIELD_MANAGER, LABEL_GATEWAY
from kubeqpu.qpu_gateway.cluster.registrar import Registrar
from kubeqpu.qpu_gateway.cluster.reporter import Reporter
from kubeqpu.qpu_gateway.qpus import ServedQPU
from kubeqpu.qpu_gateway.settings import ClusterSettings
from kubeqpu.qpu_gateway.slots.board import SlotBoard

_LOG = structlog.get_logger(__name__)

_FIRST_LIST_SECONDS = 2.0
_STOP_SECONDS = 2.0
_REGISTRATIONS_AT_ONCE = 8


class Registration:
    """Registers the QPUs of a gateway and keeps their objects up to date.

    Args:
        api_client: The connection to the API server.
        settings: The cluster's section of the gateway's settings.
        pod: Name of the gateway's pod.
        qpus: The QPUs by name.
        slots: Knows their slots, or None where nobody is given any.

    Raises:
        ConfigurationError: If the API server would refuse a QPU.
    """

    def __init__(
        self,
        api_client: client.ApiClient,
        settings: ClusterSettings,
        pod: str,
        qpus: Mapping[str, ServedQPU],
        slots: SlotBoard | None = None,
    ) -> None:
        self._qpus = qpus
        objects = ObjectsAPI(api_client, FIELD_MANAGER)
        self._registrars = {
            name: Registrar(objects, settings, pod or settings.gateway, served, self.refresh)
            for name, served in qpus.items()
        }
        self._reporter = Reporter(objects, settings.endpoint, qpus, self._registrars, slots)
        self._watch = ObjectWatch(
            objects,
            QPUS,
            self._take_all,
            self._take,
            self._drop,
            Selection(labels=f"{LABEL_GATEWAY}={settings.gateway}"),
        )
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Registers in the background, whether the API server answers or not.

        It is awaited before jobs are dispatched: which QPUs are cordoned is read first, unless
        that takes too long.
        """
        try:
            await self._watch.list_once(_FIRST_LIST_SECONDS)
        except APIServerError as error:
            _LOG.warning("QPUs not listed at start", reason=str(error))
        slots = asyncio.Semaphore(_REGISTRATIONS_AT_ONCE)
        self._run(self._watch.run())
        self._run(self._reporter.write())
        for name, registrar in self._registrars.items():
            self._run(registrar.run(slots))
            self._run(registrar.lease.run())
            self._run(self._reporter.poll(name))

    async def stop(self) -> None:
        """Says that the gateway stops, as far as that is quick.

        `Ready` becomes Unknown at once instead of 40 s after the last renewal, so that no work is
        sent to a gateway that is gone, in a rolling restart for example; the next process makes it
        True as soon as it serves.
        """
        running, self._tasks = self._tasks, []
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        if not running:
            return
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                await self._reporter.stop()
        except TimeoutError:
            _LOG.warning("Stop not reported in time", seconds=_STOP_SECONDS)

    def refresh(self, name: str) -> None:
        """Reports what changed of a QPU; never raises."""
        self._reporter.refresh(name)

    def _run(self, work: Coroutine[None, None, None]) -> None:
        self._tasks.append(asyncio.create_task(work))

    def _take_all(self, manifests: tuple[Manifest, ...]) -> None:
        for manifest in manifests:
            self._take(manifest)
        there = {name_of(manifest) for manifest in manifests}
        for name, registrar in self._registrars.items():
            if name not in there and registrar.registered is not None:
                registrar.request()

    def _take(self, manifest: Manifest) -> None:
        name = name_of(manifest)
        if name not in self._registrars:
            return
        try:
            found = api.QPU.from_manifest(manifest)
        except ValueError as error:
            _LOG.warning("QPU not understood", qpu=name, reason=str(error))
            return
        served = self._qpus[name]
        served.unschedulable = found.spec.unschedulable
        served.labels = dict(found.metadata.labels)
        self._reporter.observe(name)
        self._registrars[name].see(manifest, found)
        version = version_of(manifest)
        self._reporter.see(name, int(version) if version.isdecimal() else 0, found)

    def _drop(self, manifest: Manifest) -> None:
        registrar = self._registrars.get(name_of(manifest))
        if registrar is not None:
            registrar.lose()
