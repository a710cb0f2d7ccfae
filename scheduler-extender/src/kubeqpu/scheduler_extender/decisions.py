"""What the scheduler is answered: pure functions of tables and node names."""

import zlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from kubeqpu.scheduler_extender.groups import REFUSED, Floats
from kubeqpu.scheduler_extender.reasons import REFUSED_AS_WRITTEN, Reason, summarise
from kubeqpu.scheduler_extender.tables import Table

BEST_NODES = 64
MOST_POINTS = 10


@dataclass(frozen=True)
class Passed:
    """Nodes that pass.

    Attributes:
        nodes: The best of them, best first.
        totals: Their scores.
        considered: How many were asked about.
        passing: How many passed.
        next_best: The best node with a lower score than all of these; empty if there is none.
    """

    nodes: tuple[str, ...]
    totals: tuple[float, ...]
    considered: int
    passing: int
    next_best: str = ""


@dataclass(frozen=True)
class Refused:
    """No node passes.

    Attributes:
        reasons: Why not, by node; few and shared.
    """

    reasons: dict[str, Reason]


def filter_nodes(
    tables: Sequence[Table], nodes: Sequence[str], pod: str, best: int = BEST_NODES
) -> Passed | Refused:
    """Finds the best of the nodes that pass.

    Among equals a pod's choice is steady, and another for each pod, so that they spread.

    Args:
        tables: One for each resource that the pod asks for, at least one.
        nodes: Names of the nodes.
        pod: What tells the pod from others.
        best: How many nodes at most.
    """
    # The order decides among equals: a stable sort keeps it.
    start = zlib.crc32(pod.encode(errors="replace")) % max(1, len(nodes))
    turned = [*nodes[start:], *nodes[:start]]
    totals = look_up(tables, turned)
    passing = np.flatnonzero(totals > REFUSED)
    if not passing.size:
        return Refused(_explain(tables, nodes))
    chosen = passing[np.argsort(-totals[passing], kind="stable")[:best]]
    return Passed(
        nodes=tuple(turned[place] for place in chosen.tolist()),
        totals=tuple(totals[chosen].tolist()),
        considered=len(nodes),
        passing=int(passing.size),
        next_best=_find_next(turned, totals, float(totals[chosen[-1]])),
    )


def _find_next(nodes: Sequence[str], totals: Floats, limit: float) -> str:
    lower = np.where(totals < limit, totals, REFUSED)
    place = int(lower.argmax())
    return nodes[place] if lower[place] > REFUSED else ""


def look_up(tables: Sequence[Table], nodes: Sequence[str]) -> Floats:
    """Gives the scores of nodes: of several tables the smallest; `REFUSED` where one refuses."""
    totals = tables[0].look_up(nodes)
    for table in tables[1:]:
        totals = np.minimum(totals, table.look_up(nodes))
    return totals


def prioritize_nodes(tables: Sequence[Table], nodes: Sequence[str]) -> list[int]:
    """Gives points to nodes, 0 to 10, in their order.

    The best of the nodes gets 10, one that is half as good 5, one that is refused 0.

    Args:
        tables: One for each resource that the pod asks for; none: every node gets 0.
        nodes: Names of the nodes.
    """
    if not tables or not nodes:
        return [0] * len(nodes)
    totals = np.maximum(look_up(tables, nodes), 0.0)
    best = float(totals.max())
    if best <= 0.0:
        return [0] * len(nodes)
    points: list[int] = np.rint(totals * (MOST_POINTS / best)).astype(int).tolist()
    return points


def choose_helpful(tables: Sequence[Table], nodes: Collection[str]) -> list[str]:
    """Chooses the nodes on which the pod could run if others gave way."""
    names = list(nodes)
    if not tables or not names:
        return names
    passes = (look_up(tables, names) > REFUSED).tolist()
    return [name for name, good in zip(names, passes, strict=True) if good]


def refuse_all(nodes: Sequence[str], sentence: str) -> Refused:
    """Refuses every node for one reason that lies in the pod."""
    return Refused(dict.fromkeys(nodes, Reason(REFUSED_AS_WRITTEN, sentence)))


def _explain(tables: Sequence[Table], nodes: Sequence[str]) -> dict[str, Reason]:
    """Tells of each node why the first table that refuses it does."""
    reasons: dict[str, Reason] = {}
    for table in reversed(tables):
        groups = table.find_groups(nodes)
        refused = np.flatnonzero(table.verdicts.totals[groups] <= REFUSED).tolist()
        by_group = summarise(table, np.unique(groups[refused]).tolist())
        found = groups.tolist()
        reasons |= {nodes[place]: by_group[found[place]] for place in refused}
    return reasons
