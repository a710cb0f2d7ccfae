"""Chooses which of the free slots a container should get."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from kubeqpu.deviceplugin.slots import slot_order


@dataclass(frozen=True, slots=True)
class Candidate:
    """What a choice depends on.

    Attributes:
        gateway: Gateway of the slot; empty if unknown.
        qpu: Its QPU.
        score: Placement score from 0 to 1, higher is better.
    """

    gateway: str
    qpu: str
    score: float


def choose_slots(
    available: Sequence[str],
    required: Sequence[str],
    count: int,
    describe: Callable[[str], Candidate],
) -> list[str]:
    """Chooses slots that belong together: of one QPU, else of one gateway, with the best score.

    It never fails: what it cannot fulfil, the kubelet completes.

    Args:
        available: IDs to choose from.
        required: IDs that have to be chosen.
        count: How many to choose, those required among them.
        describe: Tells what is known of a slot.

    Returns:
        At most `count` IDs without repetition, the required ones first.
    """
    chosen = list(dict.fromkeys(required))
    taken = set(chosen)
    rest = [slot for slot in dict.fromkeys(available) if slot not in taken]
    wanted = min(count - len(chosen), len(rest))
    if wanted <= 0:
        return chosen[: max(count, 0)]
    known = {slot: describe(slot) for slot in (*chosen, *rest)}
    # What is required decides where the others are best taken from.
    gateways = {known[slot].gateway for slot in chosen}
    qpus = {known[slot].qpu for slot in chosen}
    groups = _group(rest, known)
    totals: dict[str, int] = {}
    for (gateway, _), slots in groups.items():
        totals[gateway] = totals.get(gateway, 0) + len(slots)

    def rank(group: tuple[str, str]) -> tuple[object, ...]:
        gateway, qpu = group
        slots = groups[group]
        best = known[slots[0]].score
        enough = len(slots) >= wanted
        return (
            not gateway,
            gateway not in gateways,
            qpu not in qpus,
            totals[gateway] < wanted,
            not enough,
            # Where one QPU is not enough: few large ones.
            0 if enough else -len(slots),
            -best,
            gateway,
            qpu,
        )

    for group in _by_gateway(sorted(groups, key=rank)):
        chosen += groups[group][: count - len(chosen)]
        if len(chosen) >= count:
            break
    return chosen


def _group(slots: Iterable[str], known: dict[str, Candidate]) -> dict[tuple[str, str], list[str]]:
    """Groups slots by gateway and QPU, the best score first."""
    groups: dict[tuple[str, str], list[str]] = {}
    for slot in sorted(slots, key=lambda slot: (-known[slot].score, slot_order(slot))):
        groups.setdefault((known[slot].gateway, known[slot].qpu), []).append(slot)
    return groups


def _by_gateway(ranked: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Keeps the gateways in the order of their best groups, and each one's groups together."""
    first = {gateway: place for place, (gateway, _) in reversed(list(enumerate(ranked)))}
    return sorted(ranked, key=lambda group: first[group[0]])
