"""All that waits, and what is to be done about each: decisions in memory, without any I/O.

An object goes from seen to judged; what has to wait is told why, at a measured pace; what may go is
handed out for a write, and comes back as gone or refused. Anything that is seen of it meanwhile
makes it judged anew.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from kubeqpu.admission.gates.waiting import Key, Look, Waiting, describe, find_grounds, read_word
from kubeqpu.admission.outlooks import Ground, Outlook
from kubeqpu.common.backoff import Backoff
from kubeqpu.common.requests import PodRequest
from kubeqpu.kube.errors import CONFLICT

# How often an object is written to that waits, at most: for another reason, for other words.
WORD_SECONDS = 10.0
TEXT_SECONDS = 60.0
# After a conflict the watch tells the object as it is; should it not, it is tried again.
_UNTOLD_SECONDS = 1.0
_LONGEST_RETRY_SECONDS = 5.0


@dataclass(frozen=True)
class Lift:
    """An object to let go.

    Attributes:
        found: The object.
        free_at: From when on it could go.
    """

    found: Waiting
    free_at: float


@dataclass(frozen=True)
class Note:
    """What to tell an object that waits.

    Attributes:
        found: The object.
        text: The reason as a word, then in sentences.
        is_news: Whether the word is another than before.
        at: When this was handed out.
        told_at: When it was told something last before; None: never.
    """

    found: Waiting
    text: str
    is_news: bool
    at: float
    told_at: float | None


@dataclass
class _Entry:
    found: Waiting
    seen_at: float
    retry: Backoff
    judged: bool = False
    grounds: tuple[Ground, ...] = ()
    text: str = ""
    free_at: float | None = None
    queued: bool = False
    lifting: bool = False
    gone: bool = False
    retry_at: float = 0.0
    noting: bool = False
    told_at: float | None = None
    note_at: float = 0.0


@dataclass
class Roster:
    """What waits.

    Args:
        clock: Monotonic seconds.
    """

    clock: Callable[[], float]
    _entries: dict[Key, _Entry] = field(default_factory=dict)
    _unjudged: set[Key] = field(default_factory=set)

    def see_all(self, kind: str, those: Iterable[Waiting]) -> None:
        """Takes in all objects of a kind."""
        found = {one.key: one for one in those}
        for key in [key for key in self._entries if key[0] == kind and key not in found]:
            self._drop(key)
        for one in found.values():
            self.see(one)

    def see(self, found: Waiting) -> None:
        """Takes in an object that is new or changed."""
        key = found.key
        known = self._entries.get(key)
        if found.over:
            self._drop(key)
            return
        if known is None or known.found.uid != found.uid:
            self._entries[key] = self._make_entry(found)
        elif known.gone:
            # Someone gated it once more.
            told_at = known.told_at
            known = self._entries[key] = self._make_entry(found)
            known.told_at = told_at
        elif known.found.version != found.version:
            if found.said not in ("", known.found.said):
                known.told_at = self.clock()
            known.found, known.judged, known.retry_at = found, False, 0.0
        self._unjudged.add(key)

    def forget(self, found: Waiting) -> None:
        """Takes in that an object is gone, or carries our label no more."""
        self._drop(found.key)

    def begin_anew(self) -> None:
        """Judges everything once more, as one who did not write until now has to."""
        self._entries = {key: self._make_entry(entry.found) for key, entry in self._entries.items()}
        self._unjudged.update(self._entries)

    def judge(self, look: Look, changed_at: float | None) -> list[Key]:
        """Judges what has to be judged.

        Args:
            look: Tells what a request can expect.
            changed_at: Judges all: since when what may be expected is another; None judges only
                what was not judged yet.

        Returns:
            What may go since now, to be handed out by `begin_lift`.
        """
        now = self.clock()
        remembered: dict[tuple[PodRequest, str], Outlook] = {}

        def look_once(request: PodRequest, namespace: str) -> Outlook:
            asked = (request, namespace)
            if asked not in remembered:
                remembered[asked] = look(request, namespace)
            return remembered[asked]

        keys = self._unjudged if changed_at is None else set(self._entries)
        self._unjudged = set()
        free = []
        for key in keys:
            entry = self._entries.get(key)
            if entry is None or entry.gone:
                continue
            entry.grounds, entry.judged = find_grounds(entry.found, look_once), True
            if entry.grounds:
                entry.text, entry.free_at = describe(entry.grounds), None
                continue
            if entry.free_at is None:
                since = now if changed_at is None else changed_at
                entry.free_at = max(since, entry.seen_at)
            if entry.retry_at > now:
                self._unjudged.add(key)
            elif not entry.lifting and not entry.queued:
                entry.queued = True
                free.append(key)
        return free

    def begin_lift(self, key: Key) -> Lift | None:
        """Hands out an object to be let go; None if it may not go now, or someone does it."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        entry.queued = False
        if entry.free_at is None or not entry.judged or entry.lifting or entry.gone:
            return None
        entry.lifting = True
        return Lift(entry.found, entry.free_at)

    def end_lift(self, lift: Lift, status: int | None) -> None:
        """Takes in how the write went.

        Args:
            lift: What was handed out.
            status: None if it is written, else the status of the refusal; 0 for no answer.
        """
        entry = self._entries.get(lift.found.key)
        if entry is None or entry.found.uid != lift.found.uid:
            return
        entry.lifting = False
        unchanged = entry.found.version == lift.found.version
        if status is None:
            entry.retry.succeed()
            # If it was seen since, that tells what it is now.
            entry.gone = unchanged
        elif status == CONFLICT:
            entry.retry_at = self.clock() + _UNTOLD_SECONDS if unchanged else 0.0
        else:
            entry.retry_at = self.clock() + entry.retry.fail()
        if not entry.gone:
            self._unjudged.add(lift.found.key)

    def find_retry_seconds(self) -> float | None:
        """Tells after how long something refused is to be judged again; None if nothing is."""
        now = self.clock()
        waits = [
            max(entry.retry_at - now, 0.0)
            for key in self._unjudged
            if (entry := self._entries.get(key)) is not None and not entry.lifting
        ]
        return min(waits, default=None)

    def begin_notes(self, most: int) -> list[Note]:
        """Hands out what waiting objects are to be told now."""
        now = self.clock()
        notes: list[Note] = []
        for entry in self._entries.values():
            if len(notes) == most:
                break
            if _is_due(entry, now):
                is_news = read_word(entry.found.said) != entry.grounds[0].reason
                notes.append(Note(entry.found, entry.text, is_news, now, entry.told_at))
                entry.noting, entry.told_at = True, now
        return notes

    def end_note(self, note: Note, status: int | None) -> None:
        """Takes in how the write of a note went; see `end_lift`."""
        entry = self._entries.get(note.found.key)
        if entry is None or entry.found.uid != note.found.uid:
            return
        entry.noting = False
        if status is not None:
            if entry.told_at == note.at:
                entry.told_at = note.told_at
            wait = _UNTOLD_SECONDS if status == CONFLICT else WORD_SECONDS
            entry.note_at = self.clock() + wait

    def count(self) -> Counter[tuple[str, str]]:
        """Counts what waits, by kind and first reason."""
        return Counter(
            (entry.found.kind, entry.grounds[0].reason)
            for entry in self._entries.values()
            if entry.grounds and not entry.gone
        )

    def __len__(self) -> int:
        return len(self._entries)

    def _make_entry(self, found: Waiting) -> _Entry:
        now = self.clock()
        retry = Backoff(_LONGEST_RETRY_SECONDS, self.clock)
        # What it is told may have been written a moment ago, by another leader.
        return _Entry(found, now, retry, told_at=now if found.said else None)

    def _drop(self, key: Key) -> None:
        self._entries.pop(key, None)
        self._unjudged.discard(key)


def _is_due(entry: _Entry, now: float) -> bool:
    if not entry.judged or not entry.grounds or entry.noting or entry.found.said == entry.text:
        return False
    if now < entry.note_at:
        return False
    if entry.told_at is None:
        return True
    same = read_word(entry.found.said) == entry.grounds[0].reason
    return now >= entry.told_at + (TEXT_SECONDS if same else WORD_SECONDS)
