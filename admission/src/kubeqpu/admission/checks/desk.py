"""Writes verdicts into Workloads, as fast as they come and never over anyone else's change.

Every write names the version that was judged, so nothing that happened since is overwritten: the
API server refuses it, and the newer Workload is judged instead.
"""

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime

import structlog

from kubeqpu.admission.checks.entries import write_entries
from kubeqpu.admission.checks.pods import PodNotes
from kubeqpu.admission.checks.queue import KeyQueue
from kubeqpu.admission.checks.telemetry import CheckTelemetry
from kubeqpu.admission.checks.verdicts import Check, Scene, Verdict, decide
from kubeqpu.admission.checks.workloads import Key, State, Workload, dress, is_open, read_workload
from kubeqpu.common.backoff import Backoff
from kubeqpu.kube.errors import CONFLICT, NOT_FOUND, APIServerError
from kubeqpu.kube.objects import ObjectsAPI
from kubeqpu.kube.resources import WORKLOADS, Manifest, is_newer, name_of, namespace_of

_LOG = structlog.get_logger(__name__)
_WORKERS = 24
# How long a pod may be later in its watch than its Workload in another.
_LAG_SECONDS = 0.3
# After a conflict the watch tells the newer Workload at once; if not, it is read.
_NEWER_SECONDS = 2.0
_GONE_SECONDS = 10.0
_LONGEST_RETRY_SECONDS = 10.0


class Desk:
    """Keeps the Workloads that wait for a verdict, and gives it.

    Args:
        objects: The API server; its field manager is the checks' controller.
        pods: What pods say of themselves.
        find_checks: Gives our checks by name; None while they are not all known.
        find_scene: Gives what there is for a namespace; None while that is not all known.
        is_leader: Tells whether we may write at this moment.
        telemetry: Counts verdicts.
        count_write: Called after each write.
    """

    def __init__(
        self,
        objects: ObjectsAPI,
        pods: PodNotes,
        find_checks: Callable[[], dict[str, Check] | None],
        find_scene: Callable[[str], Scene | None],
        is_leader: Callable[[], bool],
        telemetry: CheckTelemetry,
        count_write: Callable[[str], None],
    ) -> None:
        self._objects = objects
        self._pods = pods
        self._find_checks = find_checks
        self._find_scene = find_scene
        self._is_leader = is_leader
        self._telemetry = telemetry
        self._count_write = count_write
        self._queue: KeyQueue[Key] = KeyQueue()
        self._workloads: dict[Key, Workload] = {}
        self._seen_at: dict[Key, float] = {}
        self._refused: dict[Key, str] = {}
        self._missed: set[Key] = set()
        self._backoffs: dict[Key, Backoff] = {}
        telemetry.follow(lambda: len(self._workloads))

    async def run(self) -> None:
        """Gives verdicts until cancelled, then forgets all Workloads."""
        try:
            await self._queue.work(self._handle, _WORKERS)
        finally:
            for key in tuple(self._workloads):
                self._forget(key)

    def take_all(self, manifests: tuple[Manifest, ...]) -> None:
        """Takes in all Workloads."""
        there = {(namespace_of(manifest), name_of(manifest)) for manifest in manifests}
        for key in self._workloads.keys() - there:
            self._forget(key)
        for manifest in manifests:
            self.take(manifest)

    def take(self, manifest: Manifest) -> None:
        """Takes in a Workload that is new or changed."""
        if not is_open(manifest):
            self._forget((namespace_of(manifest), name_of(manifest)))
            return
        workload = read_workload(manifest)
        known = self._workloads.get(workload.key)
        if known is not None and known.uid != workload.uid:
            self._forget(workload.key)
        elif known is not None and is_newer(known.version, workload.version):
            return
        self._workloads[workload.key] = workload
        self._seen_at.setdefault(workload.key, time.monotonic())
        self._queue.add(workload.key)

    def drop(self, manifest: Manifest) -> None:
        """Takes in that a Workload is gone."""
        self._forget((namespace_of(manifest), name_of(manifest)))

    def look_again(self) -> None:
        """Has all verdicts looked at anew, as something else changed."""
        for key in self._workloads:
            self._queue.add(key)

    def _forget(self, key: Key) -> None:
        self._workloads.pop(key, None)
        self._seen_at.pop(key, None)
        self._refused.pop(key, None)
        self._missed.discard(key)
        self._backoffs.pop(key, None)
        self._queue.forget(key)
        self._pods.forget(key)

    async def _handle(self, key: Key) -> None:
        try:
            await self._look(key)
        except APIServerError as error:
            self._telemetry.count_refusal("error")
            backoff = self._backoffs.setdefault(key, Backoff(_LONGEST_RETRY_SECONDS))
            self._queue.add_later(key, backoff.fail())
            if backoff.failures == 1:
                _LOG.warning("Verdict not written", workload="/".join(key), reason=str(error))
        else:
            self._backoffs.pop(key, None)

    async def _look(self, key: Key) -> None:
        workload = self._workloads.get(key)
        checks, scene = self._find_checks(), self._find_scene(key[0])
        if workload is None or checks is None or scene is None or not self._is_leader():
            return  # what is missing has all looked at again when it comes
        if not any(entry.name in checks for entry in workload.entries):
            return
        if self._refused.get(key) == workload.version:
            await self._read_newer(key)
            return
        if (dressed := await self._dress(workload)) is None:
            return
        verdicts = {
            name: verdict
            for name, check in checks.items()
            if (verdict := decide(dressed, check, checks.keys(), scene)) is not None
        }
        if verdicts:
            await self._write(dressed, verdicts, checks)

    async def _dress(self, workload: Workload) -> Workload | None:
        """Adds what its pods say; None while that is not known."""
        if not workload.owners:
            return workload
        if not self._pods.is_complete():
            return None
        unknown = [owner for owner in workload.owners if self._pods.find(owner) is None]
        if unknown and workload.key not in self._missed:
            self._missed.add(workload.key)
            self._queue.add_later(workload.key, _LAG_SECONDS)
            return None
        there = [await self._pods.read(workload, owner) for owner in unknown]
        found = [self._pods.find(owner) for owner in workload.owners]
        notes = [note for note in found if note is not None]
        if not notes and not any(there):
            # Without pods the Workload goes as well, sooner or later.
            self._queue.add_later(workload.key, _GONE_SECONDS)
            return None
        return dress(workload, notes)

    async def _write(
        self, workload: Workload, verdicts: dict[str, Verdict], checks: dict[str, Check]
    ) -> None:
        if not self._is_leader():
            return
        key = workload.key
        manifest = write_entries(workload, verdicts, checks.keys(), datetime.now(UTC))
        place = WORKLOADS.within(workload.namespace)
        try:
            written = await self._objects.apply_status(place, manifest)
        except APIServerError as error:
            if error.status == NOT_FOUND:
                return  # the watch tells as well
            if error.status != CONFLICT:
                raise
            self._telemetry.count_refusal("conflict")
            self._refused[key] = workload.version
            known = self._workloads.get(key)
            if known is not None and known.version == workload.version:
                self._queue.add_later(key, _NEWER_SECONDS)
            return
        self._count(workload, verdicts)
        known = self._workloads.get(key)
        if known is not None and known.version == workload.version:
            self.take(written)

    def _count(self, workload: Workload, verdicts: dict[str, Verdict]) -> None:
        self._count_write("workload")
        seconds = time.monotonic() - self._seen_at.get(workload.key, time.monotonic())
        for entry in workload.entries:
            if verdict := verdicts.get(entry.name):
                pending = entry.state == State.PENDING
                self._telemetry.count_verdict(verdict, seconds if pending else None)
                _LOG.info("Verdict given", workload="/".join(workload.key), check=entry.name,
                          verdict=verdict.state.value, reason=verdict.reason)  # fmt: skip

    async def _read_newer(self, key: Key) -> None:
        namespace, name = key
        found = await self._objects.read(WORKLOADS.within(namespace), name)
        if found is None:
            self._forget(key)
        else:
            self.take(found)


async def pace(changed: asyncio.Event, act: Callable[[], None], seconds: float) -> None:
    """Acts on a change at once, but not again before a time is over; until cancelled."""
    while True:
        await changed.wait()
        changed.clear()
        act()
        await asyncio.sleep(seconds)
