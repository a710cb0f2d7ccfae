"""Decides whether a slot is healthy: one function of what is known of it."""

from dataclasses import dataclass
from enum import Enum

# How long a free slot is believed after its gateway was last heard.
GRACE_SECONDS = 30.0
# After this time without a stream a gateway's IDs may be offered by another.
FORGET_SECONDS = 300.0


class Word(Enum):
    """What a gateway last said of a slot."""

    NONE = "none"
    OFFERED = "offered"
    WITHDRAWN = "withdrawn"


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a slot is healthy, and why not."""

    healthy: bool
    reason: str = ""


HEALTHY = Verdict(True)
_NEVER_OFFERED = Verdict(False, "No gateway has offered it since the device plugin started.")
_WITHDRAWN = Verdict(False, "Its gateway no longer has it on this node.")
_UNREACHED = Verdict(False, "Its gateway is not reached.")
_UNEXPLAINED = "Its gateway gave no reason."


def judge(
    word: Word,
    healthy: bool,
    reason: str,
    *,
    held: bool,
    silent_seconds: float | None,
    grace_seconds: float = GRACE_SECONDS,
) -> Verdict:
    """Judges a slot.

    What a reached gateway says counts. While it is not reached, its last word counts: for a held
    slot as long as that takes, because a kubelet that restarts rejects waiting pods whose slots
    are unhealthy; for a free one only for the grace, because nobody can use it.

    Args:
        word: What its gateway last said.
        healthy: Whether it called the slot healthy.
        reason: Why not.
        held: Whether a container has it.
        silent_seconds: Since when its gateway is not reached; None while it is.
        grace_seconds: How long a free slot is believed without its gateway.
    """
    if word is Word.NONE:
        return HEALTHY if held else _NEVER_OFFERED
    if word is Word.WITHDRAWN:
        return _WITHDRAWN
    if not healthy:
        return Verdict(False, reason or _UNEXPLAINED)
    if held or silent_seconds is None or silent_seconds < grace_seconds:
        return HEALTHY
    return _UNREACHED
