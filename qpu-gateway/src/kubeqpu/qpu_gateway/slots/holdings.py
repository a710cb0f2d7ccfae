"""Who holds which slot, as the device plugins report it. Pure.

A report names pods without their uids, so the first token seen in a holding tells the uid, and no
other counts while the holding lasts.
"""

import re
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from kubeqpu.qpu_gateway.slots.slot import Holding, Slot

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_POD = re.compile(r"[a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?")

# The API server and we remember for 10 s each that a token is good. A token seen this long after
# another one's pin belongs to a later pod: two pods of one name never exist together.
PROOF_SECONDS = 30.0
# A report may name a pod that is gone for a while: so long the successor of its name waits.
SUCCESSION_SECONDS = 10.0


class Refusal(StrEnum):
    """Why a line of a report does not count."""

    MALFORMED = "malformed"
    UNKNOWN = "unknown"
    ELSEWHERE = "elsewhere"


@dataclass(frozen=True)
class Reported:
    """A line of a report.

    Attributes:
        slot: Device ID.
        namespace: Namespace of the pod that holds it.
        pod: Name of the pod.
        container: Name of its container.
    """

    slot: str
    namespace: str
    pod: str
    container: str = ""


@dataclass(frozen=True)
class Reading:
    """What a report says.

    Attributes:
        changed: Slots whose holding began or ended.
        refused: Lines that do not count, and why.
        pods: Pods by slot as they were reported, for the next reading.
    """

    changed: tuple[Slot, ...]
    refused: tuple[tuple[Reported, Refusal], ...]
    pods: Mapping[str, frozenset[tuple[str, str]]]


def read_report(
    node: str,
    on_node: Iterable[Slot],
    known: Container[str],
    qpus: Container[str],
    report: Sequence[Reported],
    before: Mapping[str, frozenset[tuple[str, str]]] | None,
) -> Reading:
    """Reads a node's complete list of holders, which names slots of other gateways, too.

    Args:
        node: The node.
        on_node: The slots that live there.
        known: Device IDs of all slots of this gateway.
        qpus: Its QPUs.
        report: The list.
        before: Pods by slot of the report before on the same stream; None for the first.
    """
    slots = {slot.id: slot for slot in on_node if slot.node == node}
    lines: dict[str, list[Reported]] = {}
    refused = []
    for line in report:
        if line.slot.rpartition("-")[0] not in qpus:
            continue
        if line.slot not in slots:
            why = Refusal.ELSEWHERE if line.slot in known else Refusal.UNKNOWN
            refused.append((line, why))
        elif not (_LABEL.fullmatch(line.namespace) and _POD.fullmatch(line.pod)):
            refused.append((line, Refusal.MALFORMED))
        else:
            lines.setdefault(line.slot, []).append(line)
    changed = []
    for name, slot in slots.items():
        earlier = None if before is None else before.get(name, frozenset())
        holding = _choose(slot.holding, lines.get(name, ()), earlier)
        if holding != slot.holding:
            changed.append(replace(slot, holding=holding))
    pods = {
        name: frozenset((line.namespace, line.pod) for line in found)
        for name, found in lines.items()
    }
    return Reading(tuple(changed), tuple(refused), pods)


def _choose(
    current: Holding | None,
    lines: Sequence[Reported],
    earlier: frozenset[tuple[str, str]] | None,
) -> Holding | None:
    """Chooses who holds a slot: kubelets before 1.34 list finished pods beside their successors."""
    if not lines:
        return None
    newcomers = [
        line for line in lines
        if earlier is not None and (line.namespace, line.pod) not in earlier
    ]  # fmt: skip
    if current is not None and not any(_is_other(current, line) for line in newcomers):
        same = [line for line in lines if not _is_other(current, line)]
        if same:
            return current
    chosen = (newcomers or lines)[-1]
    if current is not None and not _is_other(current, chosen):
        return current
    # Only told to people: an odd one is left out.
    container = chosen.container if _LABEL.fullmatch(chosen.container) else ""
    return Holding(chosen.namespace, chosen.pod, container)


def _is_other(holding: Holding, line: Reported) -> bool:
    return (holding.namespace, holding.pod) != (line.namespace, line.pod)


def pin(slots: Iterable[Slot], uid: str, now: float) -> tuple[Slot, ...]:
    """Pins a pod's uid to those of its holdings that have none; returns what changed."""
    return tuple(
        replace(slot, holding=replace(slot.holding, uid=uid, pinned_at=now))
        for slot in slots
        if slot.holding is not None and not slot.holding.uid
    )


def is_successor(holding: Holding, seen_at: float, reported_at: float, now: float) -> bool:
    """Tells whether a pod of another uid took a holding over unnoticed.

    A StatefulSet's next pod of the same name may be given the same slot without a report in
    between. That it is the next one, and not one before, is known when its token is seen long
    enough after the pin of the other; that it holds the slot, when reports go on naming it.

    Args:
        holding: The holding, pinned to the other uid.
        seen_at: When a token of this uid was first seen in it, in seconds since the epoch.
        reported_at: When its node reported last.
        now: The time.
    """
    later = seen_at - holding.pinned_at >= PROOF_SECONDS
    lasting = now - seen_at >= SUCCESSION_SECONDS
    return later and lasting and reported_at - seen_at >= SUCCESSION_SECONDS / 2
