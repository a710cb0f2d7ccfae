"""Which node offers which slot. Pure.

A slot lives on one node or in the pool. Only a slot in the pool is given to a node, and only a
node that is gone loses one, so no slot that is held moves while its node lives.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from kubeqpu.qpu_gateway.slots.slot import NodeFacts, Slot


def complete(qpu: str, slots: Iterable[Slot], count: int) -> tuple[Slot, ...]:
    """Makes the slots that a QPU lacks, in the pool.

    Args:
        qpu: The QPU.
        slots: Its slots so far, surplus ones included.
        count: How many it should have.
    """
    there = {slot.number for slot in slots}
    return tuple(Slot(qpu, number) for number in range(count) if number not in there)


def find_matching(nodes: Mapping[str, NodeFacts], selector: Mapping[str, str]) -> frozenset[str]:
    """Finds the nodes in service that carry all labels of a selector."""
    return frozenset(
        name
        for name, facts in nodes.items()
        if not facts.out_of_service and selector.items() <= facts.labels.items()
    )


def find_gone(
    holders: Iterable[str],
    nodes: Mapping[str, NodeFacts] | None,
    silent_seconds: Mapping[str, float],
    return_seconds: float,
) -> frozenset[str]:
    """Finds the nodes whose slots return to the pool.

    Args:
        holders: Nodes that have slots.
        nodes: All nodes of the cluster; None while that is unknown, which takes nothing away.
        silent_seconds: Of the nodes without a stream, for how long.
        return_seconds: How long a node may be without.
    """

    def is_gone(name: str) -> bool:
        if nodes is not None and (name not in nodes or nodes[name].out_of_service):
            return True
        return silent_seconds.get(name, 0.0) >= return_seconds

    return frozenset(name for name in holders if is_gone(name))


def give_back(slots: Iterable[Slot], gone: Collection[str]) -> tuple[Slot, ...]:
    """Puts the slots of nodes that are gone into the pool, their holders forgotten.

    Returns:
        The slots that changed.
    """
    return tuple(
        replace(slot, node="", generation=slot.generation + 1, holding=None)
        for slot in slots
        if slot.node and slot.node in gone
    )


def seconds_to_settle(
    matching: Collection[str],
    connected: Collection[str],
    since: float | None,
    now: float,
    settle_seconds: float,
) -> float:
    """Tells how long to wait for more nodes before slots in the pool are divided.

    Args:
        matching: Nodes that may offer the QPU's slots.
        connected: Those of them whose device plugin is connected.
        since: Since when any is, by the clock of `now`; None while none is.
        now: The time.
        settle_seconds: How long to wait at most.

    Returns:
        Seconds, 0 where nothing is waited for, infinity where nobody is there.
    """
    if since is None or not connected:
        return float("inf")
    if set(matching) <= set(connected):
        return 0.0
    return max(0.0, since + settle_seconds - now)


def divide(
    slots: Sequence[Slot], count: int, takers: Collection[str], claims: Mapping[str, str]
) -> tuple[Slot, ...]:
    """Gives the slots in the pool to nodes, so that their shares are as even as may be.

    Args:
        slots: All slots of a QPU.
        count: How many it should have; those beyond are given to nobody.
        takers: Nodes that may offer them.
        claims: Nodes by slot whose kubelet says that a pod holds it; where the slot is in the pool,
            nobody else does, and another node would offer it while it is in use.

    Returns:
        The slots that changed.
    """
    load = dict.fromkeys(takers, 0)
    for slot in slots:
        if slot.node in load and slot.number < count:
            load[slot.node] += 1
    if not load:
        return ()
    pool = [slot for slot in slots if not slot.node and slot.number < count]
    pool.sort(key=lambda slot: (claims.get(slot.id) not in load, slot.number))
    changed = []
    for slot in pool:
        claimed = claims.get(slot.id)
        node = claimed if claimed in load else min(load, key=lambda name: (load[name], name))
        assert node is not None
        load[node] += 1
        changed.append(replace(slot, node=node))
    return tuple(changed)
