"""How quotas are put into the resource groups of a Cohort: a decision, as plain data.

In a Cohort a resource and a flavor belong to one group each, and every flavor of a group gives a
quota for every resource of it. ClusterQueues may group as they like, each for itself. So what hangs
together over all of them, as resources that share a flavor do, is one group.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from kubeqpu.admission.pool.slots import Pair

# What Kueue takes: there are fewer resources of ours than groups.
MAX_FLAVORS = 64


@dataclass(frozen=True)
class Group:
    """A resource group.

    Attributes:
        resources: Its resources, in order.
        flavors: Its flavors, in order, with a quota for each of the resources.
    """

    resources: tuple[str, ...]
    flavors: tuple[tuple[str, tuple[int, ...]], ...]


@dataclass(frozen=True)
class Grouping:
    """All pairs, put into groups.

    Attributes:
        groups: Resources and flavors of each group, in order.
        left_out: Pairs for which there is no room.
    """

    groups: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]
    left_out: tuple[Pair, ...]


def group(pairs: Iterable[Pair]) -> Grouping:
    """Puts pairs into groups that Kueue takes.

    Pairs are taken in order; one that would make a group too large is left out, so that the choice
    depends on nothing but the pairs.
    """
    groups: list[tuple[set[str], set[str]]] = []
    left_out = []
    for pair in sorted(pairs):
        apart = [one for one in groups if pair.resource not in one[0] and pair.flavor not in one[1]]
        joined = [one for one in groups if one not in apart]
        resources = {pair.resource}.union(*(one[0] for one in joined))
        flavors = {pair.flavor}.union(*(one[1] for one in joined))
        if len(flavors) > MAX_FLAVORS:
            left_out.append(pair)
        else:
            groups = [*apart, (resources, flavors)]
    ordered = sorted((tuple(sorted(one[0])), tuple(sorted(one[1]))) for one in groups)
    return Grouping(tuple(ordered), tuple(left_out))


def fill(grouping: Grouping, quotas: Mapping[Pair, int]) -> tuple[Group, ...]:
    """Writes quotas into groups; a pair that no ClusterQueue names has none."""
    return tuple(
        Group(
            resources,
            tuple(
                (flavor, tuple(quotas.get(Pair(resource, flavor), 0) for resource in resources))
                for flavor in flavors
            ),
        )
        for resources, flavors in grouping.groups
    )


def flatten(groups: Iterable[Group]) -> dict[Pair, int]:
    """Gives the quotas of groups by pair."""
    quotas: dict[Pair, int] = defaultdict(int)
    for one in groups:
        for flavor, amounts in one.flavors:
            for resource, amount in zip(one.resources, amounts, strict=True):
                quotas[Pair(resource, flavor)] = amount
    return dict(quotas)
