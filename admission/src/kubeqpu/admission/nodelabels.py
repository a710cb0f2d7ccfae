"""Which labels nodes carry by the slots they have: a decision from QPUs, as plain data.

All keys below our two prefixes say what is so, whoever wrote them: a label of ours on a node
without such slots is as wrong as one that is missing.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from kubeqpu.common import api
from kubeqpu.common.names import DOMAIN, node_label_of_qpu, node_label_of_resource

VALUE = "true"
_PREFIXES = (node_label_of_qpu(""), node_label_of_resource(f"{DOMAIN}/"))


@dataclass(frozen=True)
class Slots:
    """Where a QPU has slots.

    Attributes:
        qpu: Its name.
        resource: The extended resource that offers them.
        nodes: The nodes that have at least one.
    """

    qpu: str
    resource: str
    nodes: frozenset[str]


def read_slots(qpu: api.QPU) -> Slots:
    """Reads where a QPU has slots from its status."""
    nodes = frozenset(node.name for node in qpu.status.nodes if node.slots > 0)
    return Slots(qpu.metadata.name, qpu.spec.resource_name.value, nodes)


def want(qpus: Iterable[Slots]) -> dict[str, frozenset[str]]:
    """Decides which of our label keys each node carries; nodes with none are left out."""
    wanted: dict[str, set[str]] = {}
    for slots in qpus:
        keys = (node_label_of_qpu(slots.qpu), node_label_of_resource(slots.resource))
        for node in slots.nodes:
            wanted.setdefault(node, set()).update(keys)
    return {node: frozenset(keys) for node, keys in wanted.items()}


def find_ours(labels: Mapping[str, str]) -> dict[str, str]:
    """Finds the labels of a node that are ours to keep."""
    return {key: value for key, value in labels.items() if key.startswith(_PREFIXES)}


def mend(found: Mapping[str, str], wanted: frozenset[str]) -> dict[str, str | None]:
    """Decides what to merge into a node's labels; empty where they are as they should be.

    Args:
        found: The labels of ours that the node carries.
        wanted: The keys that it should carry.

    Returns:
        Values by key; None removes the key.
    """
    patch: dict[str, str | None] = {key: None for key in found if key not in wanted}
    patch.update({key: VALUE for key in wanted if found.get(key) != VALUE})
    return patch
