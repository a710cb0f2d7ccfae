"""Watches QPUs, QPUClasses and Leases, and hands over what is seen."""

import asyncio
from collections.abc import Callable

import structlog
from pydantic import ValidationError

from kubeqpu.admission.leases import Lease, parse_lease
from kubeqpu.admission.observations import Observations
from kubeqpu.common import api
from kubeqpu.kube.objects import ObjectsAPI
from kubeqpu.kube.resources import LEASES, QPU_CLASSES, QPUS, Manifest, name_of
from kubeqpu.kube.watches import ObjectWatch

_LOG = structlog.get_logger(__name__)
# Leases are never quiet for so long: a connection that died silently is noticed by that.
_SILENCE_SECONDS = 30.0


class Watch:
    """Feeds the observations for as long as it runs.

    Args:
        objects: The API server.
        observations: Takes in what is seen.
        namespace: Where the Leases are.
        on_lease: Called with every Lease that is seen.
        on_class: Called when a QPUClass changed.
    """

    def __init__(
        self,
        objects: ObjectsAPI,
        observations: Observations,
        *,
        namespace: str,
        on_lease: Callable[[Lease], None],
        on_class: Callable[[], None],
    ) -> None:
        self._observations = observations
        self._on_lease = on_lease
        self._leases: set[str] = set()
        self._qpus: set[str] = set()
        self._watches = (
            ObjectWatch(
                objects,
                LEASES.within(namespace),
                self._take_leases,
                self._take_lease,
                lambda lease: self._forget_lease(name_of(lease)),
                silence_seconds=_SILENCE_SECONDS,
            ),
            ObjectWatch(
                objects,
                QPUS,
                self._take_qpus,
                self._take_qpu,
                lambda qpu: self._forget_qpu(name_of(qpu)),
            ),
            ObjectWatch(
                objects,
                QPU_CLASSES,
                lambda _: on_class(),
                lambda _: on_class(),
                lambda _: on_class(),
            ),
        )

    async def run(self) -> None:
        """Watches until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for watch in self._watches:
                tasks.create_task(watch.run())

    def _take_leases(self, leases: tuple[Manifest, ...]) -> None:
        for name in self._leases - {name_of(lease) for lease in leases}:
            self._forget_lease(name)
        for lease in leases:
            self._take_lease(lease, listed=True)

    def _take_lease(self, manifest: Manifest, *, listed: bool = False) -> None:
        try:
            lease = parse_lease(manifest)
        except (ValueError, ValidationError) as error:
            _LOG.warning("Lease not understood", lease=name_of(manifest), error=str(error))
            return
        self._leases.add(lease.name)
        self._observations.see_lease(lease, listed=listed)
        self._on_lease(lease)

    def _forget_lease(self, name: str) -> None:
        self._leases.discard(name)
        self._observations.forget_lease(name)

    def _take_qpus(self, qpus: tuple[Manifest, ...]) -> None:
        for name in self._qpus - {name_of(qpu) for qpu in qpus}:
            self._forget_qpu(name)
        for qpu in qpus:
            self._take_qpu(qpu)

    def _take_qpu(self, manifest: Manifest) -> None:
        try:
            qpu = api.QPU.from_manifest(manifest)
        except ValueError as error:
            _LOG.warning("QPU not understood", qpu=name_of(manifest), error=str(error))
            return
        self._qpus.add(qpu.metadata.name)
        self._observations.see_qpu(qpu)

    def _forget_qpu(self, name: str) -> None:
        self._qpus.discard(name)
        self._observations.forget_qpu(name)
