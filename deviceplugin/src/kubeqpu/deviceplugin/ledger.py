"""The device lists: what every gateway said, what was ever listed, and what is held.

Plain memory: nothing here waits, so that the kubelet's questions are answered at once.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from kubeqpu.common import names
from kubeqpu.deviceplugin.slots import (
    Cause,
    Offer,
    Refusal,
    Slot,
    check_slot,
    qpu_of,
    sort_slots,
)
from kubeqpu.deviceplugin.verdicts import FORGET_SECONDS, GRACE_SECONDS, Verdict, Word, judge

# The kubelet receives at most 4 MiB, and answers more by dropping the plugin.
MAX_LIST_BYTES = 7 * 2**19
# Beside its ID, a device takes tags, lengths and "Unhealthy".
_DEVICE_BYTES = 15
# Of an entry that is new: its list has grown.
_UNJUDGED = Verdict(False)
# A review at the end of the grace must not come too early by a rounding.
_SLACK_SECONDS = 5.0


@dataclass(slots=True)
class Entry:
    """A slot that the kubelet knows, or will.

    Attributes:
        id: Its ID.
        qpu: Name of the QPU.
        gateway: Gateway that offered it; empty if none did.
        word: What that gateway last said of it.
        offered: How that gateway last described it.
        verdict: Whether it is healthy, as of the last review.
    """

    id: str
    qpu: str
    gateway: str = ""
    word: Word = Word.NONE
    offered: Slot | None = None
    verdict: Verdict = _UNJUDGED


@dataclass(slots=True)
class _Gateway:
    """A gateway: how many streams lead to it, and since when none does."""

    endpoint: str
    streams: int = 0
    lost_at: float = 0.0


class Ledger:
    """Keeps one list of devices per resource. No list ever shrinks.

    Args:
        grace_seconds: How long free slots are believed without their gateway.
        forget_seconds: After how long without its gateway an ID may be offered by another.
        max_list_bytes: Longest list, as it is encoded.
    """

    def __init__(
        self,
        grace_seconds: float = GRACE_SECONDS,
        forget_seconds: float = FORGET_SECONDS,
        max_list_bytes: int = MAX_LIST_BYTES,
    ) -> None:
        self._grace_seconds = grace_seconds
        self._forget_seconds = forget_seconds
        self._max_list_bytes = max_list_bytes
        self._lists: dict[str, dict[str, Entry]] = {name: {} for name in names.RESOURCES}
        self._bytes = dict.fromkeys(names.RESOURCES, 0)
        self._gateways: dict[str, _Gateway] = {}
        self._held: set[str] = set()
        self._owners: dict[str, Entry] = {}
        self._refused: dict[str, dict[str, Refusal]] = {}

    def join(self, gateway: str) -> None:
        """Notes that a stream leads to a gateway."""
        self._gateways.setdefault(gateway, _Gateway("")).streams += 1

    def leave(self, gateway: str, now: float) -> None:
        """Notes that a stream to a gateway ended.

        Args:
            gateway: The gateway; it was joined before.
            now: Monotonic seconds.
        """
        known = self._gateways[gateway]
        known.streams -= 1
        if not known.streams:
            known.lost_at = now
            # Its refused offers are no longer offers.
            self._refused.pop(gateway, None)

    def hear(self, offer: Offer, now: float) -> tuple[Refusal, ...]:
        """Takes in what a gateway says of all its slots on this node.

        Args:
            offer: The offer, of a gateway that was joined.
            now: Monotonic seconds.

        Returns:
            Slots that were refused, and were not already in the offer before.
        """
        self._gateways[offer.gateway].endpoint = offer.endpoint
        refused: dict[str, Refusal] = {}
        for entries in self._lists.values():
            for entry in entries.values():
                if entry.gateway == offer.gateway:
                    entry.word = Word.WITHDRAWN
        for slot in offer.slots:
            refusal = self._take(slot, offer.gateway, now)
            if refusal is not None:
                refused[slot.id] = refusal
        before = self._refused.get(offer.gateway, {})
        self._refused[offer.gateway] = refused
        return tuple(found for found in refused.values() if before.get(found.slot) != found)

    def _take(self, slot: Slot, gateway: str, now: float) -> Refusal | None:
        entry = self._lists.get(slot.resource_name, {}).get(slot.id)
        owner = self._owners.get(slot.id)
        if entry is None or entry is not owner or (entry.gateway, entry.qpu) != (gateway, slot.qpu):
            # One that is known was found good before.
            refusal = check_slot(slot)
            if refusal is not None:
                return refusal
            if owner is not None and owner.gateway != gateway and not self._is_given_up(owner, now):
                return Refusal(
                    slot.id,
                    Cause.CONFLICT,
                    f"Slot {slot.id} of gateway {gateway} is offered by gateway {owner.gateway} "
                    "already, which keeps it; give the QPUs names of their own.",
                )
            entry = self._list(slot.resource_name, slot.id)
            if entry is None:
                return Refusal(
                    slot.id,
                    Cause.SIZE,
                    f"Slot {slot.id} is left out: with it the list of {slot.resource_name} would "
                    f"be longer than {self._max_list_bytes} bytes, and the kubelet takes 4 MiB; "
                    "divide the slots over more nodes.",
                )
            if owner is not None:
                # Of another gateway, or another resource.
                owner.word = Word.WITHDRAWN
            self._owners[slot.id] = entry
        entry.gateway, entry.qpu = gateway, slot.qpu
        entry.word, entry.offered = Word.OFFERED, slot
        return None

    def _is_given_up(self, entry: Entry, now: float) -> bool:
        owner = self._gateways[entry.gateway]
        if owner.streams:
            return entry.word is Word.WITHDRAWN
        return now - owner.lost_at >= self._forget_seconds

    def _list(self, resource: str, slot: str) -> Entry | None:
        entries = self._lists[resource]
        entry = entries.get(slot)
        if entry is None:
            size = len(slot.encode()) + _DEVICE_BYTES
            if self._bytes[resource] + size > self._max_list_bytes:
                return None
            self._bytes[resource] += size
            entry = entries[slot] = Entry(slot, qpu_of(slot))
        return entry

    def hold(self, held: Mapping[str, Iterable[str]]) -> None:
        """Takes in which slots containers have, by resource.

        One that no gateway offered yet is listed, too: a kubelet that restarts rejects waiting
        pods whose slots are missing.
        """
        self._held = set()
        for resource in names.RESOURCES:
            for slot in sort_slots(held.get(resource, ())):
                self._list(resource, slot)
                self._held.add(slot)

    def give(self, slots: Iterable[str]) -> None:
        """Notes that slots, all of them listed, were just given to a container."""
        self._held.update(slots)

    def inherit(self, listed: Mapping[str, Iterable[str]]) -> None:
        """Takes in what the kubelet already lists, by resource, so that its list does not shrink.

        A kubelet crashes when a slot that it is giving away disappears.
        """
        for resource in names.RESOURCES:
            for slot in sort_slots(listed.get(resource, ())):
                self._list(resource, slot)

    def review(self, now: float) -> frozenset[str]:
        """Judges every slot anew; returns the resources whose list changed.

        Args:
            now: Monotonic seconds.
        """
        silences = {
            name: None if known.streams else now - known.lost_at
            for name, known in self._gateways.items()
        }
        changed = set()
        for resource, entries in self._lists.items():
            for entry in entries.values():
                slot = entry.offered
                verdict = judge(
                    entry.word,
                    slot is not None and slot.healthy,
                    "" if slot is None else slot.reason,
                    held=entry.id in self._held,
                    silent_seconds=silences.get(entry.gateway),
                    grace_seconds=self._grace_seconds,
                )
                if entry.verdict is _UNJUDGED or verdict.healthy != entry.verdict.healthy:
                    changed.add(resource)
                entry.verdict = verdict
        return frozenset(changed)

    def is_waiting(self, now: float) -> bool:
        """Tells whether time alone can change a verdict: whether a gateway was lost lately."""
        longest = self._grace_seconds + _SLACK_SECONDS
        return any(
            not known.streams and now - known.lost_at <= longest
            for known in self._gateways.values()
        )

    def entries(self, resource: str) -> Mapping[str, Entry]:
        """Gives a resource's slots by ID, in the order in which they came."""
        return self._lists[resource]

    def endpoint(self, entry: Entry) -> str:
        """Gives the address of a slot's gateway; empty while none offered the slot."""
        return self._gateways[entry.gateway].endpoint if entry.gateway else ""

    def is_held(self, slot: str) -> bool:
        """Tells whether a container has a slot."""
        return slot in self._held

    def list_bytes(self, resource: str) -> int:
        """Gives the length of a list, as it is encoded at most."""
        return self._bytes[resource]

    def refusals(self) -> Iterator[Refusal]:
        """Gives what is refused at present."""
        for refused in self._refused.values():
            yield from refused.values()
