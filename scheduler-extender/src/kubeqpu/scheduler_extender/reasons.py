"""Why nodes are refused, in few and shared words: the scheduler counts equal sentences."""

from collections.abc import Sequence
from dataclasses import dataclass

from kubeqpu.common.placement import Refusal, RefusalReason
from kubeqpu.scheduler_extender.groups import NO_SLOTS
from kubeqpu.scheduler_extender.tables import Table

# More QPUs than these are counted and not named.
_MOST_SENTENCES = 3

UNKNOWN_CLASS = "UnknownClass"
NO_SLOTS_HERE = "NoSlots"
REFUSED_AS_WRITTEN = "MalformedAnnotation"
# Those that placement gives, and our own.
WORDS = (*RefusalReason, UNKNOWN_CLASS, NO_SLOTS_HERE, REFUSED_AS_WRITTEN)


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a node is refused.

    Attributes:
        word: CamelCase word, the same for every refusal on this ground.
        sentence: What is, and what was required; it names no node.
    """

    word: str
    sentence: str


def summarise(table: Table, groups: Sequence[int]) -> dict[int, Reason]:
    """Tells why groups of nodes are refused.

    Args:
        table: What refuses them.
        groups: The groups, each refused.
    """
    demand = table.question.demand
    if table.wanted is None:
        sentence = (
            f"QPUClass {demand.class_name!r} does not exist; expected one of "
            "`kubectl get qpuclasses`"
        )
        return dict.fromkeys(groups, Reason(UNKNOWN_CLASS, sentence))
    found: dict[int, Refusal] = {}
    reasons: dict[int, Reason] = {}
    for group in groups:
        refusal = table.find_refusal(group) if group != NO_SLOTS else None
        if refusal is not None:
            found[group] = refusal
        else:
            reasons[group] = Reason(NO_SLOTS_HERE, f"no QPU has slots of {demand.resource} here")
    # A QPU's refusal is one object, however many groups it is in.
    if len({id(refusal) for refusal in found.values()}) > _MOST_SENTENCES:
        return reasons | _group(found)
    return reasons | {group: Reason(item.reason, str(item)) for group, item in found.items()}


def _group(found: dict[int, Refusal]) -> dict[int, Reason]:
    by_word: dict[str, dict[str, Refusal]] = {}
    for refusal in found.values():
        by_word.setdefault(refusal.reason, {}).setdefault(refusal.qpu, refusal)
    sentences = {word: _tell(word, by_qpu) for word, by_qpu in by_word.items()}
    return {
        group: Reason(refusal.reason, sentences[refusal.reason]) for group, refusal in found.items()
    }


def _tell(word: str, by_qpu: dict[str, Refusal]) -> str:
    example = by_qpu[min(by_qpu)]
    if len(by_qpu) == 1:
        return str(example)
    return f"QPUs refused as {word}: {len(by_qpu)}, such as {example}"
