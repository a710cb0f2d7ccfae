"""How many slots each flavor has now: a decision from QPUs, nodes and flavors, as plain data."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field

from kubeqpu.common import api, names
from kubeqpu.common.qpu import ConditionStatus


@dataclass(frozen=True, order=True)
class Pair:
    """What Kueue counts quota by: a resource in a flavor.

    Attributes:
        resource: The extended resource, such as `kubeqpu.io/qpu`.
        flavor: Name of the ResourceFlavor.
    """

    resource: str
    flavor: str


@dataclass(frozen=True)
class Flavor:
    """A ResourceFlavor, as far as it says which nodes it is for.

    Attributes:
        name: Its name.
        node_labels: The labels that its nodes carry; none: all nodes.
    """

    name: str
    node_labels: Mapping[str, str] = field(default_factory=dict)

    def fits(self, labels: Mapping[str, str]) -> bool:
        """Tells whether a node with these labels is one of its."""
        return all(labels.get(key) == value for key, value in self.node_labels.items())


@dataclass(frozen=True)
class QPUSlots:
    """A QPU's slots.

    Attributes:
        resource: The extended resource that offers them.
        usable: Whether what holds one can run circuits now.
        nodes: How many slots count on each node: of a QPU that is usable all, of another those
            that pods hold.
    """

    resource: str
    usable: bool
    nodes: Mapping[str, int]


@dataclass(frozen=True)
class Count:
    """Slots at one moment.

    Attributes:
        usable: Those of QPUs that are usable.
        stranded: Those that pods hold of QPUs that are not.
    """

    usable: int = 0
    stranded: int = 0

    def __add__(self, other: "Count") -> "Count":
        """Adds slots."""
        return Count(self.usable + other.usable, self.stranded + other.stranded)


def read_qpu(qpu: api.QPU) -> QPUSlots:
    """Reads a QPU's slots from its spec and status; a cordoned one takes nothing new."""
    status = {item.type: item.status for item in qpu.status.conditions}
    usable = not qpu.spec.unschedulable and all(
        status.get(kind) is ConditionStatus.TRUE for kind in ("Ready", "Accepting")
    )
    counts = {node.name: node.slots if usable else node.held for node in qpu.status.nodes}
    counted = {name: count for name, count in counts.items() if count}
    return QPUSlots(qpu.spec.resource_name.value, usable, counted)


def is_ours(resource: str) -> bool:
    """Tells whether a resource is one whose quota is ours to say."""
    return resource in names.RESOURCES


def choose_flavor(labels: Mapping[str, str], flavors: Iterable[Flavor]) -> str | None:
    """Chooses for which flavor a node counts: the one that says most of it, then by name."""
    fitting = (flavor for flavor in flavors if flavor.fits(labels))
    best = min(fitting, key=lambda one: (-len(one.node_labels), one.name), default=None)
    return None if best is None else best.name


def count_slots(
    qpus: Iterable[QPUSlots],
    nodes: Mapping[str, Mapping[str, str]],
    flavors: Mapping[str, Flavor],
    declared: Set[Pair],
) -> dict[Pair, Count]:
    """Counts the slots of each pair.

    Args:
        qpus: All QPUs.
        nodes: The labels of all nodes, by name; slots on others count for nothing.
        flavors: All flavors by name.
        declared: The pairs that ClusterQueues name.

    Returns:
        A count for each declared pair. No slot counts twice.
    """
    candidates: dict[str, list[Flavor]] = defaultdict(list)
    for pair in declared:
        if pair.flavor in flavors:
            candidates[pair.resource].append(flavors[pair.flavor])
    chosen: dict[tuple[str, str], str | None] = {}
    counts = dict.fromkeys(declared, Count())
    for qpu in qpus:
        for node, slots in qpu.nodes.items():
            key = (qpu.resource, node)
            if key not in chosen:
                labels = nodes.get(node)
                fitting = candidates[qpu.resource] if labels is not None else []
                chosen[key] = choose_flavor(labels or {}, fitting)
            flavor = chosen[key]
            if flavor is not None:
                found = Count(slots, 0) if qpu.usable else Count(0, slots)
                counts[Pair(qpu.resource, flavor)] += found
    return counts
