"""Who holds which slot: what the kubelet lists, and how far its silence is believed."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

# After a kubelet's start its List is empty for a second, and pods in crash back-off return after
# two: for so long a slot that is missing there is still held.
TRUST_SECONDS = 5.0
# A slot given away that no List shows after this time belongs to a pod that never started.
_UNSEEN_SECONDS = 30.0
# How many good Lists in a row have to lack a slot.
_LACKING_LISTS = 2


@dataclass(frozen=True, slots=True)
class Holding:
    """A container that has a slot.

    Attributes:
        slot: ID of the slot.
        resource: Extended resource that offers it.
        namespace: Namespace of the pod.
        pod: Name of the pod.
        container: Name of the container.
    """

    slot: str
    resource: str
    namespace: str
    pod: str
    container: str


class Holdings:
    """Believes a kubelet's Lists: holders at once, and their end only while it can be trusted.

    Args:
        trust_seconds: How long Lists have to be good before they are believed about an end.
    """

    def __init__(self, trust_seconds: float = TRUST_SECONDS) -> None:
        self._trust_seconds = trust_seconds
        self._believed: dict[str, Holding] = {}
        self._lacking: dict[str, int] = {}
        self._allocated: dict[str, tuple[str, float]] = {}
        self._ended: set[Holding] = set()
        self._good_since: float | None = None
        self.version = 0

    def observe(self, listed: Iterable[Holding], now: float, asked_at: float | None = None) -> bool:
        """Takes in a List; returns whether the holdings changed.

        Args:
            listed: All holdings in it. Kubelets before 1.34 also list pods that have ended, so a
                slot may be there twice: then the one that came later has it.
            now: Monotonic seconds.
            asked_at: When it was asked for; now if absent. What it says of a slot that was given
                away since may be of before.
        """
        if self._good_since is None:
            self._good_since = now
        found: dict[str, Holding] = {}
        ended: set[Holding] = set()
        for holding in listed:
            if asked_at is not None and self._was_given(holding.slot, asked_at):
                continue
            other = found.get(holding.slot)
            if holding in self._ended:
                ended.add(holding)
            elif other is None or other == self._believed.get(holding.slot):
                found[holding.slot] = holding
                if other is not None:
                    ended.add(other)
            elif holding == self._believed.get(holding.slot):
                ended.add(holding)
        self._ended = ended
        after = {**self._keep(found, now), **found}
        self._forget_allocated(found, now)
        if after == self._believed:
            return False
        self._believed = after
        self.version += 1
        return True

    def _was_given(self, slot: str, asked_at: float) -> bool:
        given = self._allocated.get(slot)
        return given is not None and given[1] >= asked_at

    def _keep(self, found: Mapping[str, Holding], now: float) -> dict[str, Holding]:
        """Finds the holdings that are not listed and believed all the same."""
        trusted = self.is_trusted(now)
        lacking = {
            slot: self._lacking.get(slot, 0) + 1 for slot in self._believed if slot not in found
        }
        self._lacking = {
            slot: lists for slot, lists in lacking.items() if not trusted or lists < _LACKING_LISTS
        }
        return {slot: self._believed[slot] for slot in self._lacking}

    def is_trusted(self, now: float) -> bool:
        """Tells whether Lists have been good for long enough to be believed about an end."""
        return self._good_since is not None and now - self._good_since >= self._trust_seconds

    def _forget_allocated(self, found: Mapping[str, Holding], now: float) -> None:
        self._allocated = {
            slot: (resource, since)
            for slot, (resource, since) in self._allocated.items()
            if slot not in found and now - since < _UNSEEN_SECONDS
        }

    def distrust(self) -> None:
        """Notes that the kubelet failed to answer or started anew."""
        self._good_since = None
        self._lacking = {}

    def allocate(self, slots: Iterable[str], resource: str, now: float) -> bool:
        """Notes that slots were given away, before any List shows by whom they are held.

        Whoever held one until now does no longer: else the kubelet could not give it again.

        Returns:
            Whether a holding ended.
        """
        has_ended = False
        for slot in slots:
            self._allocated[slot] = (resource, now)
            has_ended |= self._believed.pop(slot, None) is not None
            self._lacking.pop(slot, None)
        self.version += has_ended
        return has_ended

    def is_unsettled(self) -> bool:
        """Tells whether the next List is awaited: for a holder, or for an end."""
        return bool(self._allocated or self._lacking)

    def holders(self) -> list[Holding]:
        """Gives who holds what, as gateways are told it."""
        return list(self._believed.values())

    def held(self) -> dict[str, set[str]]:
        """Gives the slots that are held or just given away, by resource."""
        held: dict[str, set[str]] = {}
        for holding in self._believed.values():
            held.setdefault(holding.resource, set()).add(holding.slot)
        for slot, (resource, _) in self._allocated.items():
            held.setdefault(resource, set()).add(slot)
        return held
