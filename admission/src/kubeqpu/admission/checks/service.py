"""The AdmissionCheck at work: what it watches, and what it writes, while Kueue is installed."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime

import structlog

from kubeqpu.admission import budgets
from kubeqpu.admission.catalogue import Catalogue
from kubeqpu.admission.checks.desk import Desk, pace
from kubeqpu.admission.checks.pods import SILENCE_SECONDS, PodNotes
from kubeqpu.admission.checks.registry import (
    Registered,
    find_condition,
    read_check,
    resolve,
    write_condition,
)
from kubeqpu.admission.checks.telemetry import CheckTelemetry
from kubeqpu.admission.checks.verdicts import Check, Scene
from kubeqpu.admission.telemetry import Telemetry
from kubeqpu.kube.errors import CONFLICT, NOT_FOUND, APIServerError
from kubeqpu.kube.objects import ObjectsAPI
from kubeqpu.kube.resources import ADMISSION_CHECKS, QPU_CLASSES, WORKLOADS, Manifest, name_of
from kubeqpu.kube.watches import ObjectWatch

_LOG = structlog.get_logger(__name__)
# How often all that is open is judged anew, however often QPUs change.
_PACE_SECONDS = 0.5
_LOOK_SECONDS = 1.0


class Checks:
    """Keeps our AdmissionChecks Active, and gives Workloads their verdicts.

    Args:
        objects: The API server; its field manager has to be `registry.CONTROLLER`.
        catalogue: What there is.
        is_leader: Tells whether we may write at this moment.
        telemetry: Counts what is written.
        check_telemetry: Counts verdicts.
    """

    def __init__(
        self,
        objects: ObjectsAPI,
        catalogue: Catalogue,
        is_leader: Callable[[], bool],
        telemetry: Telemetry,
        check_telemetry: CheckTelemetry,
    ) -> None:
        self._objects = objects
        self._catalogue = catalogue
        self._is_leader = is_leader
        self._telemetry = telemetry
        self._check_telemetry = check_telemetry
        self._wake: Callable[[], None] = lambda: None
        self._changed = asyncio.Event()
        self._registered: dict[str, Registered] = {}
        self._complete = False
        self._led = False
        catalogue.listen(self._changed.set)

    def wake_by(self, wake: Callable[[], None]) -> None:
        """Has `step` called at once when a condition may have to change."""
        self._wake = wake
        self._catalogue.listen(wake, QPU_CLASSES)

    async def run(self) -> None:
        """Watches, and gives verdicts, until cancelled; to be run while Kueue is installed."""
        pods = PodNotes(self._objects, self._changed.set)
        desk = Desk(
            self._objects,
            pods,
            self._find_checks,
            self._find_scene,
            self._is_leader,
            self._check_telemetry,
            self._telemetry.count_write,
        )
        checks = ObjectWatch(
            self._objects,
            ADMISSION_CHECKS,
            self._take_all,
            self._take,
            self._drop,
            silence_seconds=SILENCE_SECONDS,
        )
        workloads = ObjectWatch(
            self._objects,
            WORKLOADS,
            desk.take_all,
            desk.take,
            desk.drop,
            silence_seconds=SILENCE_SECONDS,
        )
        try:
            async with asyncio.TaskGroup() as group:
                for work in (checks.run, workloads.run, pods.run, desk.run):
                    group.create_task(work())
                group.create_task(pace(self._changed, desk.look_again, _PACE_SECONDS))
        finally:
            self._registered, self._complete = {}, False

    async def step(self) -> float:
        """Writes the conditions that have to change; gives the seconds until the next look.

        Raises:
            APIServerError: If the API server was not reached or refused one; the others are as
                they should be.
        """
        leads = self._is_leader()
        if leads and not self._led:
            self._changed.set()  # what nobody wrote meanwhile is ours to write
        self._led = leads
        if not leads or not self._complete or not self._catalogue.is_complete():
            return _LOOK_SECONDS
        errors = []
        for registered in tuple(self._registered.values()):
            try:
                await self._mend(registered)
            except APIServerError as error:
                errors.append(error)
        if errors:
            raise errors[0]
        # Whether we lead is looked at soon, for nothing else tells of that.
        return _LOOK_SECONDS

    async def _mend(self, registered: Registered) -> None:
        check = resolve(registered, self._catalogue.classes)
        condition = find_condition(registered, check, datetime.now(UTC))
        if condition is None or not self._is_leader():
            return
        manifest = write_condition(registered, condition)
        try:
            written = await self._objects.apply_status(ADMISSION_CHECKS, manifest)
        except APIServerError as error:
            if error.status in (CONFLICT, NOT_FOUND):
                return  # the watch tells what it is now
            raise
        if self._registered.get(registered.name) is registered:
            self._take(written)
        self._telemetry.count_write("admissioncheck")
        _LOG.info("AdmissionCheck judged", admissioncheck=registered.name,
                  active=condition["status"], reason=condition["reason"])  # fmt: skip

    def _take_all(self, manifests: tuple[Manifest, ...]) -> None:
        found = [read_check(manifest) for manifest in manifests]
        self._registered = {one.name: one for one in found if one is not None}
        self._complete = True
        self._tell()

    def _take(self, manifest: Manifest) -> None:
        found = read_check(manifest)
        if found is None:
            return
        known = self._registered.get(found.name)
        self._registered[found.name] = found
        if known is None or known.parameters != found.parameters or known.active != found.active:
            self._tell()

    def _drop(self, manifest: Manifest) -> None:
        if self._registered.pop(name_of(manifest), None) is not None:
            self._tell()

    def _tell(self) -> None:
        self._changed.set()
        self._wake()

    def _find_checks(self) -> dict[str, Check] | None:
        if not self._complete:
            return None
        classes = self._catalogue.classes
        return {name: resolve(one, classes) for name, one in self._registered.items()}

    def _find_scene(self, namespace: str) -> Scene | None:
        catalogue = self._catalogue
        if not catalogue.is_complete():
            return None
        quotas = catalogue.quotas.get(namespace, {})
        return Scene(
            catalogue.classes,
            catalogue.offers.values(),
            budgets.find_spent(quotas.values()),
            datetime.now(UTC),
        )
