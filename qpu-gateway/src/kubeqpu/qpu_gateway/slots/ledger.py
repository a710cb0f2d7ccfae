"""All slots of this gateway in memory, and what of them is stored."""

from collections.abc import Iterable, Mapping
from typing import TypeAlias, TypeVar

from kubeqpu.qpu_gateway.jobs import Submitter
from kubeqpu.qpu_gateway.slots.slot import Slot

_Pod: TypeAlias = tuple[str, str]
_K = TypeVar("_K", str, _Pod)


class Ledger:
    """Slots by device ID.

    A node is told of a slot only when the database says that it lives there, so whatever is
    forgotten in a crash was never offered.

    Args:
        counts: How many slots each QPU should have.
    """

    def __init__(self, counts: Mapping[str, int]) -> None:
        self.counts = counts
        self._slots: dict[str, Slot] = {}
        self._stored: dict[str, Slot] = {}
        self._unsaved: dict[str, None] = {}
        self._by_qpu: dict[str, dict[str, None]] = {qpu: {} for qpu in counts}
        self._by_node: dict[str, dict[str, None]] = {}
        self._by_pod: dict[_Pod, dict[str, None]] = {}

    def load(self, stored: Iterable[Slot]) -> None:
        """Takes in what is in the database; slots of other QPUs stay there."""
        known = [slot for slot in stored if slot.qpu in self.counts]
        self.apply(known)
        self.note_stored(known)

    def __contains__(self, name: object) -> bool:
        return name in self._slots

    def find(self, name: str) -> Slot | None:
        """Gives a slot by its device ID, or None."""
        return self._slots.get(name)

    @property
    def nodes(self) -> tuple[str, ...]:
        """Nodes that have slots."""
        return tuple(self._by_node)

    def of_qpu(self, qpu: str) -> list[Slot]:
        """Gives a QPU's slots, surplus ones included."""
        return [self._slots[name] for name in self._by_qpu[qpu]]

    def on_node(self, node: str) -> list[Slot]:
        """Gives the slots that live on a node."""
        return [self._slots[name] for name in self._by_node.get(node, ())]

    def held_by(self, node: str, namespace: str, pod: str) -> list[Slot]:
        """Gives the slots that a pod of this name on this node holds."""
        found = [self._slots[name] for name in self._by_pod.get((namespace, pod), ())]
        return [slot for slot in found if slot.node == node]

    def covers(self, submitter: Submitter) -> bool:
        """Tells whether a pod may hold a slot: one of its name does, whose uid is not another."""
        names = self._by_pod.get((submitter.tenant, submitter.pod), ())
        return any(
            slot.qpu == submitter.qpu and slot.holding.uid in ("", submitter.pod_uid)
            for slot in (self._slots[name] for name in names)
            if slot.holding is not None
        )

    def offered_on(self, node: str) -> list[Slot]:
        """Gives the slots that a node may offer: surplus ones only as long as they are held."""
        return [
            slot for slot in self.on_node(node)
            if self._is_placed(slot) and (not self.is_surplus(slot) or slot.holding is not None)
        ]  # fmt: skip

    def is_surplus(self, slot: Slot) -> bool:
        """Tells whether a slot is one too many, because the QPU had more before."""
        return slot.number >= self.counts[slot.qpu]

    def apply(self, changed: Iterable[Slot]) -> None:
        """Takes changed slots in; they are to be stored."""
        for slot in changed:
            old = self._slots.get(slot.id)
            if old is not None:
                _drop(self._by_node, old.node, old.id)
                _drop(self._by_pod, _pod(old), old.id)
            self._slots[slot.id] = slot
            self._by_qpu[slot.qpu][slot.id] = None
            if slot.node:
                self._by_node.setdefault(slot.node, {})[slot.id] = None
            pod = _pod(slot)
            if pod is not None:
                self._by_pod.setdefault(pod, {})[slot.id] = None
            self._note_saved(slot.id)

    def list_unsaved(self) -> list[Slot]:
        """Gives the slots that the database has differently."""
        return [self._slots[name] for name in self._unsaved]

    def note_stored(self, slots: Iterable[Slot]) -> None:
        """Notes what the database has now."""
        for slot in slots:
            self._stored[slot.id] = slot
            self._note_saved(slot.id)

    def is_stored(self, slot: Slot) -> bool:
        """Tells whether the database has a slot as it is."""
        return self._stored.get(slot.id) == slot

    def _is_placed(self, slot: Slot) -> bool:
        stored = self._stored.get(slot.id)
        return stored is not None and (stored.node, stored.generation) == (
            slot.node,
            slot.generation,
        )

    def _note_saved(self, name: str) -> None:
        if self._stored.get(name) == self._slots[name]:
            self._unsaved.pop(name, None)
        else:
            self._unsaved[name] = None


def _pod(slot: Slot) -> _Pod | None:
    holding = slot.holding
    return None if holding is None else (holding.namespace, holding.pod)


def _drop(index: dict[_K, dict[str, None]], key: _K | None, name: str) -> None:
    found = None if key is None else index.get(key)
    if key is not None and found is not None:
        found.pop(name, None)
        if not found:
            del index[key]
