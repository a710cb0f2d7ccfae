"""The verdict on every node for one question, made from all QPUs at once."""

from collections import OrderedDict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import repeat
from typing import Generic, TypeVar

import numpy as np

from kubeqpu.common.placement import PlacementClass, Refusal
from kubeqpu.scheduler_extender.classes import Classes
from kubeqpu.scheduler_extender.eligibility import Eligibility
from kubeqpu.scheduler_extender.fleet import Fleet
from kubeqpu.scheduler_extender.groups import (
    NO_ROW,
    NO_SLOTS,
    REFUSED,
    Floats,
    Indices,
    NodeGroups,
    Verdicts,
)
from kubeqpu.scheduler_extender.qpus import SeenQPU
from kubeqpu.scheduler_extender.questions import Demand, Question

MOST_TABLES = 256
# Calibrations age by the second; in this time the score moves by less than a part in 10,000.
_HOLDS_SECONDS = 5.0

_Key = TypeVar("_Key", bound=Hashable)
_Value = TypeVar("_Value")


class LeastRecent(Generic[_Key, _Value]):
    """Keeps what was used last, up to a number.

    Args:
        most: How many it keeps.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: OrderedDict[_Key, _Value] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: _Key) -> _Value | None:
        """Gives what is kept under a key."""
        found = self._kept.get(key)
        if found is not None:
            self._kept.move_to_end(key)
        return found

    def put(self, key: _Key, value: _Value) -> None:
        """Keeps something; what was not used for longest goes."""
        self._kept[key] = value
        self._kept.move_to_end(key)
        if len(self._kept) > self._most:
            self._kept.popitem(last=False)

    def pop(self, key: _Key) -> _Value | None:
        """Gives what is kept under a key, and forgets it."""
        return self._kept.pop(key, None)


@dataclass(frozen=True)
class Table:
    """The verdict on every node for one question; it holds until the fleet changes.

    Attributes:
        question: The question.
        wanted: The class; None if there is none of that name.
        verdicts: What is thought of each group of nodes.
        groups: The nodes that have slots of the resource.
        eligibility: Which QPUs fit.
        fleet: The QPUs.
    """

    question: Question
    wanted: PlacementClass | None
    verdicts: Verdicts
    groups: NodeGroups
    eligibility: Eligibility
    fleet: Fleet

    def group_of(self, node: str) -> int:
        """Gives a node's group."""
        return self.groups.ids.get(node, NO_SLOTS)

    def total_of(self, node: str) -> float:
        """Gives a node's score; `REFUSED` if it is refused."""
        return float(self.verdicts.totals[self.group_of(node)])

    def find_groups(self, nodes: Sequence[str]) -> Indices:
        """Gives the groups of nodes, in their order."""
        found = map(self.groups.ids.get, nodes, repeat(NO_SLOTS))
        return np.fromiter(found, dtype=np.intp, count=len(nodes))

    def look_up(self, nodes: Sequence[str]) -> Floats:
        """Gives the scores of nodes, in their order."""
        found: Floats = self.verdicts.totals[self.find_groups(nodes)]
        return found

    def best_qpus(self, nodes: Sequence[str]) -> list[SeenQPU | None]:
        """Gives the QPUs that nodes owe their scores to; None for a node without slots."""
        rows = self.verdicts.best[self.find_groups(nodes)].tolist()
        return [None if row == NO_ROW else self.fleet.at(row) for row in rows]

    def find_refusal(self, group: int) -> Refusal | None:
        """Tells why a group of nodes is refused: the first QPU there that does not fit, by name."""
        members = self.groups.members(group)
        if len(members) == 1:
            return self.eligibility.refusal(members[0][0])
        found = [refusal for row, _ in members if (refusal := self.eligibility.refusal(row))]
        return min(found, key=lambda refusal: refusal.qpu, default=None)

    def passing_nodes(self) -> set[str]:
        """Gives all nodes that pass."""
        passes = (self.verdicts.totals > REFUSED).tolist()
        return {node for node, group in self.groups.ids.items() if passes[group]}


@dataclass(frozen=True)
class _Kept:
    state: tuple[object, ...]
    made_at: datetime
    table: Table


class Tables:
    """Makes tables and keeps those used last.

    Args:
        fleet: The QPUs.
        classes: The classes.
        most: How many tables are kept.
    """

    def __init__(self, fleet: Fleet, classes: Classes, most: int = MOST_TABLES) -> None:
        self._fleet = fleet
        self._classes = classes
        self._kept: LeastRecent[Question, _Kept] = LeastRecent(most)
        self._eligible: LeastRecent[Demand, Eligibility] = LeastRecent(most)

    def __len__(self) -> int:
        return len(self._kept)

    def look_up(self, question: Question, now: datetime) -> Table:
        """Gives the table for a question, as it is now.

        Args:
            question: The question.
            now: The time, with time zone.
        """
        wanted = self._classes.find(question.demand.class_name)
        eligibility = self._find(question.demand)
        if wanted is not None:
            eligibility.refresh(wanted, now)
        groups = self._fleet.groups(question.demand.resource)
        state = (self._fleet.version, groups.version, eligibility, eligibility.version, wanted)
        kept = self._kept.get(question)
        if kept and kept.state == state and _is_recent(kept.made_at, now):
            return kept.table
        table = self._make(question, wanted, eligibility, groups, now)
        self._kept.put(question, _Kept(state, now, table))
        return table

    def _find(self, demand: Demand) -> Eligibility:
        found = self._eligible.get(demand)
        if found is None:
            found = Eligibility(demand, self._fleet)
            self._eligible.put(demand, found)
        return found

    def _make(
        self,
        question: Question,
        wanted: PlacementClass | None,
        eligibility: Eligibility,
        groups: NodeGroups,
        now: datetime,
    ) -> Table:
        layout = groups.layout()
        if wanted is None:
            nobody = np.zeros(self._fleet.rows, dtype=np.bool_)
            verdicts = layout.judge(nobody, np.zeros(self._fleet.rows))
        else:
            shape = question.shape or wanted.shape
            totals = self._fleet.columns.score(self._fleet.rows, wanted.weights, shape, now)
            verdicts = layout.judge(eligibility.fit, totals)
        return Table(question, wanted, verdicts, groups, eligibility, self._fleet)


def _is_recent(made_at: datetime, now: datetime) -> bool:
    return abs((now - made_at).total_seconds()) <= _HOLDS_SECONDS
