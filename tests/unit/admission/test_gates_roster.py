"""Whatever happens to what waits, in whatever order it is seen: nothing is stranded or told often.

The world is the API server's: objects with versions, and a watch that tells of them later.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from kubeqpu.admission.gates.roster import TEXT_SECONDS, WORD_SECONDS, Lift, Note, Roster
from kubeqpu.admission.gates.waiting import (
    Key,
    Waiting,
    find_grounds,
    lift_patch,
    note_patch,
    read_waiting,
)
from kubeqpu.admission.outlooks import Ground, Outlook
from kubeqpu.common import names
from kubeqpu.common.api import AdmissionMode
from kubeqpu.common.requests import PodRequest
from kubeqpu.kube.errors import CONFLICT
from tests.unit.admission.gating import gated_job, gated_pod, is_gated
from tests.unit.admission.webhook_objects import GATED_BY, Object

NAMES = st.sampled_from(["a", "b", "c"])
CLASSES = ("fast", "slow")
WORDS = st.sampled_from(["", "NotReady", "WaitTooLong"])
OTHERS = "example.com/licence"


@dataclass
class World:
    """What the API server has."""

    objects: dict[str, Object] = field(default_factory=dict)
    told: deque[tuple[str, Object]] = field(default_factory=deque)
    version: int = 0
    lifted: int = 0

    def put(self, name: str, manifest: Object) -> None:
        self.version += 1
        manifest["metadata"]["resourceVersion"] = str(self.version)
        manifest["metadata"].setdefault("uid", f"uid-{self.version}")
        before, self.objects[name] = self.objects.get(name), manifest
        if names.LABEL_GATED in manifest["metadata"].get("labels", {}):
            self.told.append(("see", manifest))
        elif before is not None:
            self.told.append(("forget", manifest))

    def merge(self, found: Waiting, patch: Any) -> int | None:
        """Merges as the API server does; gives the status of a refusal."""
        here = self.objects.get(found.name)
        if here is None:
            return 404
        if patch["metadata"]["resourceVersion"] != here["metadata"]["resourceVersion"]:
            return CONFLICT
        self.put(found.name, merged(here, patch))
        return None


def merged(old: Any, patch: Any) -> Any:
    """Merges as RFC 7386 says."""
    if not isinstance(patch, dict):
        return patch
    kept = dict(old) if isinstance(old, dict) else {}
    for key, value in patch.items():
        if value is None:
            kept.pop(key, None)
        else:
            kept[key] = merged(kept.get(key), value)
    return kept


class Lifecycle(RuleBasedStateMachine):
    """Objects that come, change and go, while a roster decides by what it has seen."""

    @initialize()
    def begin(self) -> None:
        self.now = 0.0
        self.world = World()
        self.roster = Roster(lambda: self.now)
        self.lacking = dict.fromkeys(CLASSES, ("NotReady", 0))
        self.modes = dict.fromkeys(CLASSES, AdmissionMode.GATE)
        self.free: deque[Key] = deque()
        self.lifts: list[Lift] = []
        self.notes: list[Note] = []
        self.noted_at: dict[str, tuple[float, str]] = {}

    def look(self, request: PodRequest, namespace: str) -> Outlook:
        assert namespace == "lab"
        word, number = self.lacking[request.class_name]
        grounds = (Ground(word, f"It waits ({number})."),) if word else ()
        return Outlook(request.class_name, self.modes[request.class_name], grounds=grounds)

    @rule(name=NAMES, wanted=st.sampled_from(CLASSES), others=st.booleans())
    def create(self, name: str, wanted: str, others: bool) -> None:
        if name in self.world.objects:
            return
        if name == "a":
            made = gated_job(name, f"{OTHERS},{names.GATE}" if others else names.GATE)
            template = made["spec"]["template"]["metadata"]
            template["annotations"] = {names.ANNOTATION_CLASS: wanted}
        else:
            made = gated_pod(name, *([OTHERS] if others else []), **{"class": wanted})
        made["metadata"]["annotations"]["others"] = str(others)
        self.world.put(name, made)

    @rule(name=NAMES)
    def change(self, name: str) -> None:
        if name in self.world.objects:
            here = self.world.objects[name]
            self.world.put(name, merged(here, {"metadata": {"labels": {"seen": "yes"}}}))

    @rule(name=NAMES)
    def gate_anew(self, name: str) -> None:
        here = self.world.objects.get(name)
        if here is None or is_gated(here):
            return
        self.noted_at.pop(name, None)  # another wait, which is told at once
        labels = {"labels": {names.LABEL_GATED: "true"}}
        others = [OTHERS] if here["metadata"]["annotations"]["others"] == "True" else []
        if here["kind"] == "Job":
            gates = {"annotations": {GATED_BY: ",".join([*others, names.GATE])}}
            self.world.put(name, merged(here, {"metadata": {**labels, **gates}}))
        else:
            spec = {"schedulingGates": [{"name": gate} for gate in (*others, names.GATE)]}
            self.world.put(name, merged(here, {"metadata": labels, "spec": spec}))

    @rule(name=NAMES)
    def remove(self, name: str) -> None:
        found = self.world.objects.pop(name, None)
        self.noted_at.pop(name, None)
        if found is not None:
            self.world.told.append(("forget", found))

    @rule(wanted=st.sampled_from(CLASSES), word=WORDS, number=st.integers(0, 1))
    def turn(self, wanted: str, word: str, number: int) -> None:
        self.lacking[wanted] = (word, number)

    @rule(wanted=st.sampled_from(CLASSES), mode=st.sampled_from(AdmissionMode))
    def choose_mode(self, wanted: str, mode: AdmissionMode) -> None:
        self.modes[wanted] = mode

    @precondition(lambda self: self.world.told)
    @rule()
    def deliver(self) -> None:
        kind, manifest = self.world.told.popleft()
        found = read_waiting(manifest["kind"], "v1", manifest)
        if kind == "see":
            self.roster.see(found)
        else:
            self.roster.forget(found)

    @rule()
    def list_anew(self) -> None:
        self.world.told.clear()
        found = [read_waiting(one["kind"], "v1", one) for one in self.world.objects.values()
                 if names.LABEL_GATED in one["metadata"].get("labels", {})]  # fmt: skip
        for kind in ("Pod", "Job"):
            self.roster.see_all(kind, [one for one in found if one.kind == kind])

    @rule(seconds=st.sampled_from([0.5, 4.0, 11.0, 61.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def lead_anew(self) -> None:
        self.roster.begin_anew()

    @rule(everything=st.booleans())
    def judge(self, everything: bool) -> None:
        self.free.extend(self.roster.judge(self.look, self.now if everything else None))

    @precondition(lambda self: self.free)
    @rule()
    def begin_lift(self) -> None:
        lift = self.roster.begin_lift(self.free.popleft())
        if lift is not None:
            assert lift.free_at <= self.now
            self.lifts.append(lift)

    @precondition(lambda self: self.lifts)
    @rule(fault=st.sampled_from(["", "", "refused", "lost", "unanswered"]))
    def end_lift(self, fault: str) -> None:
        lift = self.lifts.pop(0)
        if fault in ("refused", "lost"):
            self.roster.end_lift(lift, 403 if fault == "refused" else 0)
            return
        status = self.world.merge(lift.found, lift_patch(lift.found))
        self.world.lifted += status is None
        self.roster.end_lift(lift, 0 if fault else status)

    @rule(most=st.integers(1, 3))
    def begin_notes(self, most: int) -> None:
        self.notes.extend(self.roster.begin_notes(most))

    @precondition(lambda self: self.notes)
    @rule(fault=st.sampled_from(["", "", "refused", "lost"]))
    def end_note(self, fault: str) -> None:
        note = self.notes.pop(0)
        if fault:
            self.roster.end_note(note, 403 if fault == "refused" else 0)
            return
        status = self.world.merge(note.found, note_patch(note.found, note.text))
        self.roster.end_note(note, status)
        if status is None:
            self.check_pace(note)

    def check_pace(self, note: Note) -> None:
        name, word = note.found.name, note.text.partition(":")[0]
        at, before = self.noted_at.get(name, (-100.0, ""))
        assert note.at - at >= (TEXT_SECONDS if word == before else WORD_SECONDS)
        assert note.is_news == (word != before)
        self.noted_at[name] = (note.at, word)

    @rule(seconds=st.sampled_from([0.0, 11.0]))
    def settle(self, seconds: float) -> None:
        while self.world.told:
            self.deliver()
        self.now += seconds
        self.judge(everything=bool(seconds))
        while self.free:
            self.begin_lift()
        while self.lifts:
            self.end_lift(fault="")
        self.begin_notes(most=9)
        while self.notes:
            self.end_note(fault="")

    @invariant()
    def gates_of_others_stay(self) -> None:
        for one in self.world.objects.values():
            if one["metadata"]["annotations"]["others"] == "True":
                gates = [gate["name"] for gate in one["spec"].get("schedulingGates", [])]
                assert OTHERS in gates or OTHERS in one["metadata"]["annotations"].get(GATED_BY, "")

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        # Calm returns: all writes are answered, all is seen, and time passes.
        for _ in range(12):
            self.settle(seconds=11.0)
        for one in self.world.objects.values():
            found = read_waiting(one["kind"], "v1", one)
            grounds = find_grounds(found, self.look)
            assert is_gated(one) == bool(grounds), one
            if grounds:
                assert found.said == f"{grounds[0].reason}: {grounds[0].message}"
        waiting = sum(is_gated(one) for one in self.world.objects.values())
        assert sum(self.roster.count().values()) == waiting


TestLifecycle = Lifecycle.TestCase
TestLifecycle.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
