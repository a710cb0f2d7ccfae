"""The QPUs and classes of the cluster, kept up to date by watches."""

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime

import structlog

from kubeqpu.common import api
from kubeqpu.kube.objects import ObjectsAPI
from kubeqpu.kube.resources import QPU_CLASSES, QPUS, Manifest, name_of
from kubeqpu.kube.watches import ObjectWatch
from kubeqpu.scheduler_extender.classes import Classes
from kubeqpu.scheduler_extender.errors import StaleDataError
from kubeqpu.scheduler_extender.fleet import Fleet
from kubeqpu.scheduler_extender.qpus import read_qpu
from kubeqpu.scheduler_extender.telemetry import Telemetry

_LOG = structlog.get_logger(__name__)


class Cache:
    """Follows the API server.

    Args:
        objects: The API server.
        telemetry: Counts objects that cannot be read.
        silence_seconds: After how long without a word what is known counts as out of date.
        outage_seconds: The same where the API server does not answer.
        clock: Monotonic seconds.

    Attributes:
        fleet: The QPUs.
        classes: The classes.
        changed: Set whenever either changed.
    """

    def __init__(
        self,
        objects: ObjectsAPI,
        telemetry: Telemetry,
        silence_seconds: float,
        outage_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.fleet = Fleet()
        self.classes = Classes()
        self.changed = asyncio.Event()
        self._telemetry = telemetry
        self._silence_seconds = silence_seconds
        self._outage_seconds = outage_seconds
        self._clock = clock
        self._watches = (
            ObjectWatch(objects, QPUS, self._list_qpus, self._put_qpu, self._drop_qpu),
            ObjectWatch(
                objects, QPU_CLASSES, self._list_classes, self._put_class, self._drop_class
            ),
        )

    async def run(self) -> None:
        """Follows until cancelled."""
        async with asyncio.TaskGroup() as group:
            for watch in self._watches:
                group.create_task(watch.run())

    def age_seconds(self) -> float:
        """Tells how long ago the API server was last heard, on the watch that heard less."""
        now = self._clock()
        heard = [watch.heard_at for watch in self._watches]
        return max(float("inf") if at is None else now - at for at in heard)

    def find_fault(self) -> str:
        """Tells why nothing may be decided now; empty if it may."""
        now = self._clock()
        if any(watch.heard_at is None for watch in self._watches):
            return "The QPUs and classes are not listed yet; waiting for the API server."
        if (age := self.age_seconds()) > self._silence_seconds:
            return (
                f"The API server has told nothing of QPUs and classes for {age:.0f} s, above the "
                f"{self._silence_seconds:g} s allowed; waiting for it."
            )
        lost = [watch.lost_at for watch in self._watches if watch.lost_at is not None]
        if lost and (outage := now - min(lost)) > self._outage_seconds:
            return (
                f"The API server has not been reached for {outage:.0f} s, above the "
                f"{self._outage_seconds:g} s allowed; waiting for it."
            )
        return ""

    def check(self) -> None:
        """Makes sure that what is known may be decided from.

        Raises:
            StaleDataError: If it may not.
        """
        if fault := self.find_fault():
            raise StaleDataError(fault)

    def _list_qpus(self, manifests: tuple[Manifest, ...]) -> None:
        self.fleet.keep(name_of(manifest) for manifest in manifests)
        for manifest in manifests:
            self._put_qpu(manifest)
        self.changed.set()
        _LOG.info("QPUs listed", qpus=len(self.fleet))

    def _put_qpu(self, manifest: Manifest) -> None:
        try:
            seen = read_qpu(manifest, datetime.now(UTC))
        except ValueError as error:
            self._complain("QPU not understood", manifest, error)
            return
        self.fleet.put(seen)
        self.changed.set()

    def _drop_qpu(self, manifest: Manifest) -> None:
        self.fleet.drop(name_of(manifest))
        self.changed.set()

    def _list_classes(self, manifests: tuple[Manifest, ...]) -> None:
        self.classes.keep(name_of(manifest) for manifest in manifests)
        for manifest in manifests:
            self._put_class(manifest)
        self.changed.set()
        _LOG.info("Classes listed", classes=len(self.classes))

    def _put_class(self, manifest: Manifest) -> None:
        try:
            self.classes.put(api.QPUClass.from_manifest(manifest))
        except ValueError as error:
            self._complain("Class not understood", manifest, error)
            return
        self.changed.set()

    def _drop_class(self, manifest: Manifest) -> None:
        self.classes.drop(name_of(manifest))
        self.changed.set()

    def _complain(self, event: str, manifest: Manifest, error: ValueError) -> None:
        # What cannot be read stays as it was: the API server checks what it takes, so this is a
        # newer version's object.
        self._telemetry.count_error("object")
        _LOG.warning(event, name=name_of(manifest), reason=str(error))
