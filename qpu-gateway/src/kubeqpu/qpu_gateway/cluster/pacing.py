"""When which status is written, so that no change stays unseen and no storm arises. Pure.

The state of a QPU changes all the time; the API server and all who watch it pay for each write.
Changes of conditions are written at once. Of the rest, a change of a number by more than a tenth
is worth a write a second, a smaller one is written after five; and a budget over all QPUs holds
for these. No QPU is written more often than once a second.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

from pydantic import JsonValue

from kubeqpu.common import api

SHORTEST_SECONDS = 1.0
SMALL_CHANGE_SECONDS = 5.0
_SMALL_FRACTION = 0.1


class Change(IntEnum):
    """How much two statuses differ."""

    NONE = 0
    SMALL = 1
    LARGE = 2
    CONDITION = 3


def compare(written: api.QPUStatus | None, current: api.QPUStatus) -> Change:
    """Tells how much a status differs from the one that was written last, if any was."""
    if written is None or _verdicts(written) != _verdicts(current):
        return Change.CONDITION
    if written == current:
        return Change.NONE
    pairs = zip(_leaves(written), _leaves(current), strict=False)
    if len(list(_leaves(written))) != len(list(_leaves(current))):
        return Change.LARGE
    return Change.LARGE if any(_is_large(old, new) for old, new in pairs) else Change.SMALL


def _verdicts(status: api.QPUStatus) -> set[tuple[str, str, str]]:
    return {(item.type, item.status, item.reason) for item in status.conditions}


def _leaves(status: api.QPUStatus) -> Iterator[tuple[str, JsonValue]]:
    # What people read is made from the numbers; a rounded one that moves by a digit is no news.
    yield from _walk("", status.model_dump(mode="json", exclude={"summary"}))


def _walk(path: str, value: JsonValue) -> Iterator[tuple[str, JsonValue]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _walk(f"{path}.{key}", item)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _walk(f"{path}.{index}", item)
    else:
        yield path, value


def _is_large(old: tuple[str, JsonValue], new: tuple[str, JsonValue]) -> bool:
    if old == new:
        return False
    before, after = old[1], new[1]
    numbers = isinstance(before, int | float) and isinstance(after, int | float)
    if old[0] != new[0] or not numbers:
        return True
    assert isinstance(before, int | float)
    assert isinstance(after, int | float)
    return abs(after - before) > _SMALL_FRACTION * max(abs(before), abs(after))


class Budget:
    """A token bucket.

    Args:
        rate: Tokens that come per second.
        burst: Most tokens that are kept.
    """

    def __init__(self, rate: float, burst: float) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = burst
        self._time: float | None = None

    def take(self, now: float) -> bool:
        """Takes a token if there is one."""
        if self._time is not None:
            gained = (now - self._time) * self._rate
            self._tokens = min(self._burst, self._tokens + gained)
        self._time = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


@dataclass
class _Paced:
    current: api.QPUStatus
    change: Change = Change.CONDITION
    written: api.QPUStatus | None = None
    sending: api.QPUStatus | None = None
    sent_at: float = float("-inf")
    retry_at: float = float("-inf")
    expired: bool = False
    # What writes that may have failed call for.
    least: Change = Change.NONE

    def update(self) -> None:
        self.change = max(self.least, compare(self.written, self.current))

    def is_due(self, now: float) -> bool:
        waits = SMALL_CHANGE_SECONDS if self.change is Change.SMALL else SHORTEST_SECONDS
        due = max(self.sent_at + waits, self.retry_at)
        return self.sending is None and self.change is not Change.NONE and now >= due


class Pacer:
    """Decides what is written when; one write of a QPU at a time.

    Args:
        budget: For writes without a changed condition, over all QPUs.
    """

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._paced: dict[str, _Paced] = {}

    def offer(self, qpu: str, status: api.QPUStatus) -> None:
        """Notes a QPU's status as it is now."""
        paced = self._paced.setdefault(qpu, _Paced(status))
        paced.current = status
        paced.update()

    def choose(self, now: float) -> dict[str, api.QPUStatus]:
        """Chooses what is to be written now; each write must be confirmed or failed later."""
        due = [name for name, paced in self._paced.items() if paced.is_due(now)]
        # Who waited longest comes first.
        due.sort(key=lambda name: self._paced[name].sent_at)
        chosen = {}
        for name in due:
            paced = self._paced[name]
            if paced.change is Change.CONDITION or self._budget.take(now):
                paced.sending, paced.sent_at, paced.expired = paced.current, now, False
                chosen[name] = paced.current
        return chosen

    def confirm(self, qpu: str) -> None:
        """Notes that the write succeeded."""
        paced = self._paced.get(qpu)
        if paced is not None and paced.sending is not None:
            paced.written = None if paced.expired else paced.sending
            paced.sending, paced.least = None, Change.NONE
            paced.update()

    def fail(self, qpu: str, retry_at: float) -> None:
        """Notes that the write failed, or may have; it is made again, not before a time."""
        paced = self._paced.get(qpu)
        if paced is not None and paced.sending is not None:
            # Nobody knows which of the two is there; if their conditions differ, that is urgent.
            doubt = compare(paced.written, paced.sending)
            paced.least = max(paced.least, Change.LARGE, doubt)
            paced.sending, paced.retry_at = None, retry_at
            paced.update()

    def expire(self, qpu: str) -> None:
        """Notes that someone else wrote: what is there is no longer what was written."""
        paced = self._paced.get(qpu)
        if paced is not None:
            paced.written, paced.expired = None, True
            paced.update()

    def forget(self, qpu: str) -> None:
        """Lets go of a QPU; nothing of it is written until it is offered again."""
        self._paced.pop(qpu, None)

    def current(self, qpu: str) -> api.QPUStatus | None:
        """Gives what was offered last."""
        paced = self._paced.get(qpu)
        return None if paced is None else paced.current

    def known(self, qpu: str) -> tuple[api.QPUStatus, ...]:
        """Gives what may be written: what was confirmed, and what is on its way."""
        paced = self._paced.get(qpu)
        found = () if paced is None else (paced.written, paced.sending)
        return tuple(status for status in found if status is not None)
