"""Whatever ClusterQueues name, Kueue takes the groups that are made of it."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from kubeqpu.admission.pool.groups import MAX_FLAVORS, Grouping, fill, flatten, group
from kubeqpu.admission.pool.slots import Pair
from kubeqpu.common import names

QPU, GPU, CPU = names.RESOURCES

pairs = st.builds(
    Pair, st.sampled_from(names.RESOURCES), st.integers(0, 90).map(lambda number: f"f{number:02}")
)


def find_hanging_together(found: set[Pair]) -> set[frozenset[Pair]]:
    """Sets of pairs that share flavors or resources, the slow way."""
    parts = {frozenset({pair}) for pair in found}
    while True:
        for one in parts:
            joined = {
                other
                for other in parts
                if {pair.flavor for pair in one} & {pair.flavor for pair in other}
                or {pair.resource for pair in one} & {pair.resource for pair in other}
            }
            if len(joined) > 1:
                parts = (parts - joined) | {frozenset[Pair]().union(*joined)}
                break
        else:
            return parts


def pairs_of(grouping: Grouping) -> set[Pair]:
    return {
        Pair(resource, flavor)
        for resources, flavors in grouping.groups
        for resource in resources
        for flavor in flavors
    }


@given(st.sets(pairs, max_size=250))
def test_groups_are_valid_and_complete(found: set[Pair]) -> None:
    grouping = group(found)
    resources = [resource for part, _ in grouping.groups for resource in part]
    flavors = [flavor for _, part in grouping.groups for flavor in part]
    assert len(resources) == len(set(resources))
    assert len(flavors) == len(set(flavors))
    assert len(grouping.groups) <= 16
    assert all(len(part) <= MAX_FLAVORS for _, part in grouping.groups)
    # Each is there, or was left out; none is both.
    assert found <= pairs_of(grouping) | set(grouping.left_out)
    assert set(grouping.left_out) <= found


@given(st.sets(pairs, max_size=60))
def test_only_what_hangs_together_is_one_group(found: set[Pair]) -> None:
    expected = {
        (frozenset(one.resource for one in part), frozenset(one.flavor for one in part))
        for part in find_hanging_together(found)
    }
    grouping = group(found)
    if all(len(flavors) <= MAX_FLAVORS for _, flavors in expected):
        assert not grouping.left_out
        assert {(frozenset(one), frozenset(two)) for one, two in grouping.groups} == expected


@given(st.lists(pairs, max_size=250), st.randoms())
def test_order_and_repetition_change_nothing(found: list[Pair], source: Random) -> None:
    again = [*found, *found]
    source.shuffle(again)
    assert group(found) == group(again)


@given(st.dictionaries(pairs, st.integers(0, 2000), max_size=60))
def test_quotas_come_back_as_they_were_filled_in(quotas: dict[Pair, int]) -> None:
    grouping = group(quotas)
    filled = flatten(fill(grouping, quotas))
    for pair, slots in filled.items():
        assert slots == quotas.get(pair, 0)
    assert quotas.keys() <= filled.keys() | set(grouping.left_out)


def test_queues_that_group_differently_get_one_group() -> None:
    # One queue names QPUs and simulators in one flavor, another QPUs in two.
    found = [Pair(QPU, "a"), Pair(CPU, "a"), Pair(QPU, "b"), Pair(GPU, "c")]
    assert group(found).groups == (
        ((CPU, QPU), ("a", "b")),
        ((GPU,), ("c",)),
    )


def test_room_is_given_in_the_order_of_names() -> None:
    flavors = [f"f{number:02}" for number in range(MAX_FLAVORS + 2)]
    grouping = group(Pair(QPU, flavor) for flavor in reversed(flavors))
    assert grouping.groups == (((QPU,), tuple(flavors[:MAX_FLAVORS])),)
    assert grouping.left_out == (Pair(QPU, flavors[-2]), Pair(QPU, flavors[-1]))
