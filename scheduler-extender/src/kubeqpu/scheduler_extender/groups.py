"""Nodes in groups: those that have slots of the same QPUs share every verdict."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.intp]
Flags = NDArray[np.bool_]
Floats = NDArray[np.float64]

# The group of nodes without slots.
NO_SLOTS = 0
# Stands for a verdict that refuses; every score is above.
REFUSED = -1.0
# The row of the best QPU of nodes without slots.
NO_ROW = -1


@dataclass(frozen=True)
class Verdicts:
    """What is thought of every group.

    Attributes:
        totals: Its score; `REFUSED` if it does not pass.
        best: Row of the QPU that it owes that to, or would if it passed; `NO_ROW` without slots.
    """

    totals: Floats
    best: Indices


@dataclass(frozen=True)
class Layout:
    """Who is in which group, member after member.

    Attributes:
        groups: Groups that have nodes.
        starts: Where the members of each begin.
        rows: Rows of the QPUs that are members.
        free: Whether a slot of that QPU seems free on the group's nodes.
        count: One more than the last group.
    """

    groups: Indices
    starts: Indices
    rows: Indices
    free: Flags
    count: int

    def judge(self, fit: Flags, totals: Floats) -> Verdicts:
        """Judges every group.

        A group passes if each of its QPUs fits: the kubelet chooses the slot, and knows no class.
        It is as good as the best of them that has a free slot; as the best of all, if none has.

        Args:
            fit: Which QPUs fit, by row.
            totals: Their scores, by row.
        """
        verdicts = Verdicts(np.full(self.count, REFUSED), np.full(self.count, NO_ROW))
        if self.groups.size:
            lengths = np.diff(self.starts, append=self.rows.size)
            some_free = np.repeat(np.logical_or.reduceat(self.free, self.starts), lengths)
            scores = np.where(self.free | ~some_free, totals[self.rows], REFUSED)
            highest = np.maximum.reduceat(scores, self.starts)
            passes = np.logical_and.reduceat(fit[self.rows], self.starts)
            verdicts.totals[self.groups] = np.where(passes, highest, REFUSED)
            # The first in each group that has its highest score.
            places = np.flatnonzero(scores == np.repeat(highest, lengths))
            firsts = places[np.searchsorted(places, self.starts)]
            verdicts.best[self.groups] = self.rows[firsts]
        return verdicts


class NodeGroups:
    """The nodes that have slots of one resource.

    Attributes:
        version: Grows with every change.
    """

    def __init__(self) -> None:
        self.version = 0
        self._nodes: dict[str, dict[int, bool]] = {}
        self._ids: dict[str, int] = {}
        self._keys: dict[tuple[int, ...], int] = {}
        # By group: the key that it has, and how many nodes.
        self._members: list[tuple[int, ...]] = [()]
        self._counts: list[int] = [0]
        self._unused: list[int] = []
        self._layout: tuple[int, Layout] | None = None

    @property
    def ids(self) -> Mapping[str, int]:
        """The group of each node; a node that is not in it has no slots."""
        return self._ids

    def put(self, node: str, row: int, free: bool) -> None:
        """Notes that a node has slots of a QPU, and whether one seems free."""
        self._nodes.setdefault(node, {})[row] = free
        self._regroup(node)

    def drop(self, node: str, row: int) -> None:
        """Notes that a node has no more slots of a QPU."""
        self._nodes[node].pop(row)
        self._regroup(node)

    def members(self, group: int) -> list[tuple[int, bool]]:
        """Lists a group's QPUs by row, and whether each has a free slot there."""
        return [(code >> 1, bool(code & 1)) for code in self._members[group]]

    def layout(self) -> Layout:
        """Lays the groups out."""
        if self._layout is None or self._layout[0] != self.version:
            self._layout = (self.version, self._lay_out())
        return self._layout[1]

    def _lay_out(self) -> Layout:
        live = [group for group, count in enumerate(self._counts) if count]
        members = [self._members[group] for group in live]
        codes = np.array([code for key in members for code in key], dtype=np.intp)
        lengths = np.array([len(key) for key in members], dtype=np.intp)
        return Layout(
            groups=np.array(live, dtype=np.intp),
            starts=np.cumsum(lengths) - lengths,
            rows=codes >> 1,
            free=(codes & 1).astype(np.bool_),
            count=len(self._members),
        )

    def _regroup(self, node: str) -> None:
        self.version += 1
        key = tuple(sorted(row << 1 | free for row, free in self._nodes[node].items()))
        old = self._ids.pop(node, NO_SLOTS)
        if key:
            group = self._keys.get(key, NO_SLOTS) or self._make(key)
            self._counts[group] += 1
            self._ids[node] = group
        else:
            del self._nodes[node]
        if old:
            self._leave(old)

    def _make(self, key: tuple[int, ...]) -> int:
        if self._unused:
            group = self._unused.pop()
        else:
            group = len(self._members)
            self._members.append(())
            self._counts.append(0)
        self._members[group] = key
        self._keys[key] = group
        return group

    def _leave(self, group: int) -> None:
        self._counts[group] -= 1
        if not self._counts[group]:
            del self._keys[self._members[group]]
            self._members[group] = ()
            self._unused.append(group)
