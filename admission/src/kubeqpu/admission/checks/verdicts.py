"""What is said of a Workload: a decision from it and from what there is, as plain data.

Rejected is what can never become possible. Everything else that stands against a Workload may pass,
so it is told to come back, each time later.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from kubeqpu.admission.checks.workloads import Entry, PodSet, State, Workload
from kubeqpu.admission.outlooks import Ground, Offer, look
from kubeqpu.admission.webhooks.rules import find_contradiction, find_faults
from kubeqpu.common import api, names
from kubeqpu.common.classes import Classes
from kubeqpu.common.placement import PlacementClass, fits, raise_min_qubits
from kubeqpu.common.requests import (
    JSONObject,
    PodRequest,
    find_containers,
    object_at,
    read_request,
)

FITS, NOTHING_ASKED, NO_WAITING = "Fits", "NothingAsked", "NoWaiting"
MALFORMED, CONTRADICTION = "Malformed", "Contradiction"
BAD_PARAMETERS, NO_COMMON_QPU = "BadParametersRef", "NoCommonQPU"

BASE_SECONDS = 15
LONGEST_SECONDS = 600
_MAX_LENGTH = 1024


@dataclass(frozen=True)
class Check:
    """One of our AdmissionChecks.

    Attributes:
        name: Its name.
        class_name: The class that Workloads have to fit beside their own; empty for none.
        problem: Why it cannot be used, in words; empty if it can.
    """

    name: str
    class_name: str = ""
    problem: str = ""


@dataclass(frozen=True)
class Scene:
    """What there is when a verdict is made.

    Attributes:
        classes: All classes.
        offers: All QPUs.
        spent: What the Workload's namespace has used up.
        now: The time, with time zone.
    """

    classes: Classes
    offers: Collection[Offer]
    spent: tuple[Ground, ...]
    now: datetime


@dataclass(frozen=True)
class Verdict:
    """What a check says of a Workload.

    Attributes:
        state: Ready, Retry or Rejected.
        reason: Why, as one word.
        message: Why, in sentences.
        requeue_seconds: After how long Kueue may try again; of Retry alone.
        notes: The reason that pods are given as an annotation, by their set's name; of Ready alone.
    """

    state: State
    reason: str
    message: str
    requeue_seconds: int | None = None
    notes: Mapping[str, str] = field(default_factory=dict)


def decide(workload: Workload, check: Check, ours: Collection[str], scene: Scene) -> Verdict | None:
    """Decides what a check has to say anew of a Workload whose quota is reserved.

    Args:
        workload: The Workload, with the annotations of its pods.
        check: The check.
        ours: All checks of ours.
        scene: What there is.

    Returns:
        The verdict; None where nothing has to be written. A Ready is taken back while pods do not
        run yet, and stays as it is otherwise. After Retry and Rejected it is Kueue's turn.
    """
    entry = next((found for found in workload.entries if found.name == check.name), None)
    if entry is None or entry.state not in (State.PENDING, State.READY):
        return None
    verdict = _judge(workload, entry, check, scene)
    if entry.state == verdict.state:
        return None
    if verdict.state is State.READY:
        return _note(verdict, workload, check, ours)
    return verdict


def choose_requeue_seconds(retries: int) -> int:
    """Chooses how long a Workload waits that was sent back so often before."""
    return int(min(BASE_SECONDS * 2 ** min(retries, 20), LONGEST_SECONDS))


@dataclass(frozen=True)
class _Finding:
    """What is said of pods made from one template."""

    state: State
    reason: str
    message: str


def _judge(workload: Workload, entry: Entry, check: Check, scene: Scene) -> Verdict:
    findings: list[_Finding] = []
    notes: dict[str, str] = {}
    for pod_set in workload.pod_sets:
        found = list(_judge_pod_set(pod_set, len(workload.pod_sets), check, scene))
        findings += found
        words = " ".join(dict.fromkeys(finding.message for finding in found))
        if found:
            notes[pod_set.name] = words[:_MAX_LENGTH]
    for state in (State.REJECTED, State.RETRY):
        worst = [finding for finding in findings if finding.state is state]
        if worst:
            message = " ".join(dict.fromkeys(finding.message for finding in worst))
            retries = max(entry.retries, workload.requeues)
            seconds = choose_requeue_seconds(retries) if state is State.RETRY else None
            return Verdict(state, worst[0].reason, message[:_MAX_LENGTH], seconds)
    if not findings:
        return Verdict(State.READY, NOTHING_ASKED, "Its pods ask for no QPU.")
    message = " ".join(dict.fromkeys(finding.message for finding in findings))
    return Verdict(State.READY, findings[0].reason, message[:_MAX_LENGTH], notes=notes)


def _judge_pod_set(
    pod_set: PodSet, pod_sets: int, check: Check, scene: Scene
) -> Iterator[_Finding]:
    for template in pod_set.templates:
        if not _mentions_ours(template.spec):
            continue
        if faults := find_faults(template):
            where = f"Pod set {pod_set.name}: " if pod_sets > 1 else ""
            said = "; ".join(fault.removeprefix(f"{template.path}.") for fault in faults)
            yield _Finding(State.REJECTED, MALFORMED, f"{where}{said}.")
            continue
        request = read_request(template)
        if request.resources:
            yield _judge_request(request, check, scene)


def _mentions_ours(spec: JSONObject) -> bool:
    return any(
        name.startswith(f"{names.DOMAIN}/")
        for _, _, container in find_containers(spec)
        for part in ("limits", "requests")
        for name in object_at(object_at(container, "resources"), part)
    )


def _judge_request(request: PodRequest, check: Check, scene: Scene) -> _Finding:
    if check.problem:
        return _Finding(State.RETRY, BAD_PARAMETERS, check.problem)
    asked = [request]
    if check.class_name:
        asked.append(replace(request, class_name=check.class_name))
    outlooks = [look(one, scene.classes, scene.offers, scene.now) for one in asked]
    for outlook in outlooks:
        if contradiction := find_contradiction(request, outlook):
            return _Finding(
                State.REJECTED, CONTRADICTION, f"{contradiction[0].upper()}{contradiction[1:]}."
            )
    if outlooks[0].mode is api.AdmissionMode.NONE:
        # Its class lets it go on in any case; what the check asks for beside that still holds.
        asked, outlooks = asked[1:], outlooks[1:]
    else:
        outlooks[0] = replace(outlooks[0], grounds=(*scene.spent, *outlooks[0].grounds))
    grounds = [ground for outlook in outlooks for ground in outlook.grounds]
    if grounds:
        message = " ".join(dict.fromkeys(ground.message for ground in grounds))
        return _Finding(State.RETRY, grounds[0].reason, message)
    if not asked:
        return _Finding(State.READY, NO_WAITING, "Its class lets it go on without waiting.")
    return _match(request.resources, _classes_of(asked, scene), scene)


def _classes_of(asked: Sequence[PodRequest], scene: Scene) -> tuple[PlacementClass, ...]:
    found = {
        made.metadata.name: raise_min_qubits(api.placement_class(made), request.min_qubits)
        for request in asked
        if (made := scene.classes.find(request.class_name)) is not None
    }
    return tuple(found.values())


def _match(resources: Sequence[str], classes: Sequence[PlacementClass], scene: Scene) -> _Finding:
    """Finds QPUs that fit all classes at once; each alone has one."""
    named = " and ".join(found.name for found in classes)
    words = f"class {named}" if len(classes) == 1 else f"classes {named}"
    found = []
    for resource in resources:
        qpu = _find_qpu(resource, classes, scene)
        if qpu is None:
            return _Finding(
                State.RETRY,
                NO_COMMON_QPU,
                f"No single QPU with {resource} fits {words} now: it waits for one.",
            )
        found.append(f"QPU {qpu} with {resource}")
    verb = "fits" if len(found) == 1 else "fit"
    return _Finding(State.READY, FITS, f"{' and '.join(found)} {verb} {words}.")


def _find_qpu(resource: str, classes: Sequence[PlacementClass], scene: Scene) -> str | None:
    for offer in scene.offers:
        if offer.resource == resource and all(
            fits(offer.qpu, wanted.requirements, scene.now, wanted.name) is None
            for wanted in classes
        ):
            return offer.qpu.name
    return None


def _note(verdict: Verdict, workload: Workload, check: Check, ours: Collection[str]) -> Verdict:
    """Leaves out what Kueue would take for a conflict, which ends a Workload for good."""
    key = names.ANNOTATION_ADMISSION_REASON
    others = [entry for entry in workload.entries if entry.name != check.name]
    first = min((entry.name for entry in workload.entries if entry.name in ours), default="")
    taken = {
        pod_set.name
        for pod_set in workload.pod_sets
        if check.name != first
        or any(key in template.annotations for template in pod_set.templates)
        or any(entry.annotates(pod_set.name, key) for entry in others)
    }
    notes = {name: words for name, words in verdict.notes.items() if name not in taken}
    return replace(verdict, notes=notes)
