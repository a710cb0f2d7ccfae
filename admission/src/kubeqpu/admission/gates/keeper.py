"""Lifts gates when a QPU fits, and tells what waits what it waits for.

Who waits and who may go is decided in memory, by the roster. Lifts have writers of their own, so
that nothing that is told to others comes before them.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Coroutine
from functools import partial

import structlog

from kubeqpu.admission.catalogue import Catalogue
from kubeqpu.admission.gates.roster import Lift, Note, Roster
from kubeqpu.admission.gates.telemetry import GateTelemetry
from kubeqpu.admission.gates.waiting import (
    GATED,
    JOB,
    JOB_SET,
    PLACES,
    POD,
    GatedKind,
    Key,
    Waiting,
    lift_patch,
    note_patch,
    read_waiting,
    read_word,
)
from kubeqpu.admission.presence import Presence
from kubeqpu.admission.silence import CONTROLLER
from kubeqpu.admission.telemetry import Telemetry
from kubeqpu.common import names
from kubeqpu.kube.errors import CONFLICT, NOT_FOUND, APIServerError
from kubeqpu.kube.events import Regarding, Reporter, write_event
from kubeqpu.kube.objects import ObjectsAPI
from kubeqpu.kube.resources import EVENTS, Manifest, namespace_of
from kubeqpu.kube.watches import ObjectWatch

FIELD_MANAGER = "kubeqpu-gates"
LIFTED = "GateLifted"

_LOG = structlog.get_logger(__name__)
_LIFTS_AT_ONCE = 16
_NOTES_AT_ONCE = 5
_NOTE_PERIOD_SECONDS = 0.1
_MOST_EVENTS = 2000
# Calibrations age and waits pass without a change of any object.
_PERIOD_SECONDS = 5.0
# Many QPUs may change at once: they are judged by together.
_GATHER_SECONDS = 0.05
_IDLE_SECONDS = 1.0
# A write that a leader began is over before another may lead.
_WRITE_SECONDS = 2.0
_NOT_LEADING = -1


class GateKeeper:
    """Keeps the gates of pods, Jobs and JobSets.

    Args:
        objects: The API server.
        catalogue: What there is to wait for.
        is_leader: Tells whether we may write at this moment.
        telemetry: Counts what is written.
        gates: The gates' own metrics.
        instance: Who signs Events.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        objects: ObjectsAPI,
        catalogue: Catalogue,
        is_leader: Callable[[], bool],
        telemetry: Telemetry,
        gates: GateTelemetry,
        *,
        instance: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._objects = objects
        self._catalogue = catalogue
        self._is_leader = is_leader
        self._telemetry = telemetry
        self._gates = gates
        self._reporter = Reporter(CONTROLLER, instance)
        self._clock = clock
        self._roster = Roster(clock)
        self._wake: Callable[[], None] = lambda: None
        self._led = False
        self._changed_at: float | None = None
        self._judged_at = -_PERIOD_SECONDS
        self._free: asyncio.Queue[Key] = asyncio.Queue()
        self._events: deque[Manifest] = deque(maxlen=_MOST_EVENTS)
        self._lifting = 0
        catalogue.listen(self._note_change)

    def wake_by(self, wake: Callable[[], None]) -> None:
        """Has a function called when `step` has something to do."""
        self._wake = wake

    def tasks(self) -> tuple[Callable[[], Coroutine[None, None, None]], ...]:
        """Gives what has to run beside the steps: watches and the writers of lifts."""
        watches = (self._watch(POD).run, self._watch(JOB).run)
        return (*watches, self._watch_job_sets, self._lift_forever)

    async def step(self) -> float:
        """Judges what changed; gives the seconds until the next time."""
        if not self._is_leader():
            self._led = False
            self._events.clear()
            self._gates.show_waiting({})
            return _IDLE_SECONDS
        if not self._catalogue.is_complete():
            return _IDLE_SECONDS
        now = self._clock()
        if not self._led:
            self._led = True
            self._roster.begin_anew()
            self._changed_at = self._changed_at or now
        if self._changed_at is None and now >= self._judged_at + _PERIOD_SECONDS:
            self._changed_at = now
        changed_at = self._changed_at
        if changed_at is not None:
            self._changed_at, self._judged_at = None, now
        for key in self._roster.judge(self._catalogue.look, changed_at):
            self._free.put_nowait(key)
        self._gates.show_waiting(self._roster.count())
        await asyncio.sleep(_GATHER_SECONDS)
        rest = self._judged_at + _PERIOD_SECONDS - self._clock()
        retry = self._roster.find_retry_seconds()
        return max(0.0, rest if retry is None else min(rest, retry))

    async def tell(self) -> float:
        """Tells a few objects what they wait for; gives the seconds until the next time."""
        if not self._is_leader() or not self._led:
            return _IDLE_SECONDS
        if self._lifting or not self._free.empty():
            return _NOTE_PERIOD_SECONDS
        notes = self._roster.begin_notes(_NOTES_AT_ONCE)
        await asyncio.gather(*map(self._note, notes))
        events = [self._events.popleft() for _ in range(min(len(self._events), _NOTES_AT_ONCE))]
        await asyncio.gather(*map(self._record, events))
        return _NOTE_PERIOD_SECONDS

    def _note_change(self) -> None:
        if self._changed_at is None:
            self._changed_at = self._clock()
        self._wake()

    def _watch(self, kind: GatedKind) -> ObjectWatch:
        read = partial(read_waiting, kind.name, kind.api_version)

        def see_all(manifests: tuple[Manifest, ...]) -> None:
            self._roster.see_all(kind.name, map(read, manifests))
            self._wake()

        def see(manifest: Manifest) -> None:
            self._roster.see(read(manifest))
            self._wake()

        def forget(manifest: Manifest) -> None:
            self._roster.forget(read(manifest))

        return ObjectWatch(self._objects, kind.place, see_all, see, forget, GATED)

    async def _watch_job_sets(self) -> None:
        presence = Presence(self._objects, JOB_SET.place)

        async def watch() -> None:
            try:
                await self._watch(JOB_SET).run()
            finally:
                self._roster.see_all(JOB_SET.name, ())

        async with asyncio.TaskGroup() as group:
            group.create_task(presence.run())
            group.create_task(presence.attend(watch))

    async def _lift_forever(self) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(_LIFTS_AT_ONCE):
                group.create_task(self._lift_one_by_one())

    async def _lift_one_by_one(self) -> None:
        while True:
            lift = self._roster.begin_lift(await self._free.get())
            if lift is None:
                continue
            self._lifting += 1
            try:
                status = await self._write(lift.found, lift_patch(lift.found), "gates")
                self._roster.end_lift(lift, status)
                if status is None:
                    self._report(lift)
                else:
                    self._wake()
            except Exception:
                self._telemetry.count_error("gates")
                _LOG.exception("Gate not lifted", kind=lift.found.kind, object=lift.found.reference)
                self._roster.end_lift(lift, 0)
            finally:
                self._lifting -= 1

    def _report(self, lift: Lift) -> None:
        found = lift.found
        self._telemetry.count_write("gate")
        if not found.is_gated:
            return
        seconds = self._clock() - lift.free_at
        self._gates.record_lift(found.kind, seconds)
        _LOG.info("Gate lifted", kind=found.kind, object=found.reference,
                  seconds=round(seconds, 3))  # fmt: skip
        self._tell_event(found, LIFTED, "LiftGate", "Nothing it asks for is missing: the gate "
                         f"{names.GATE} was lifted.")  # fmt: skip

    async def _note(self, note: Note) -> None:
        found = note.found
        status = await self._write(found, note_patch(found, note.text), "notes")
        self._roster.end_note(note, status)
        if status is not None:
            return
        self._telemetry.count_write("waiting")
        if note.is_news:
            reason = read_word(note.text)
            message = note.text.removeprefix(f"{reason}: ")
            _LOG.info("Wait explained", kind=found.kind, object=found.reference, reason=reason)
            self._tell_event(found, reason, "Wait", message)

    async def _write(self, found: Waiting, patch: Manifest, loop: str) -> int | None:
        """Writes; gives None, or the status of the refusal."""
        if not self._is_leader():
            return _NOT_LEADING
        place = PLACES[found.kind].within(found.namespace)
        try:
            await self._objects.merge(place, found.name, patch, _WRITE_SECONDS)
        except APIServerError as error:
            if error.status not in (CONFLICT, NOT_FOUND):
                self._telemetry.count_error(loop)
                _LOG.warning("Waiting object not written", kind=found.kind, object=found.reference,
                             reason=str(error))  # fmt: skip
            return error.status
        return None

    def _tell_event(self, found: Waiting, reason: str, action: str, note: str) -> None:
        about = Regarding(found.api_version, found.kind, found.name, found.uid, found.namespace)
        self._events.append(
            write_event(about, self._reporter, reason=reason, action=action, note=note)
        )

    async def _record(self, event: Manifest) -> None:
        try:
            await self._objects.create(EVENTS.within(namespace_of(event)), event, _WRITE_SECONDS)
        except APIServerError as error:
            self._telemetry.count_error("notes")
            _LOG.warning("Event not written", reason=str(error))
        else:
            self._telemetry.count_write("event")
