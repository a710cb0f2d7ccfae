"""A slot and who holds it, as plain data."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Holding:
    """A pod's use of a slot, from the first report of it to the first report without it.

    Attributes:
        namespace: Namespace of the pod.
        pod: Its name, which a later pod may bear as well.
        container: Its container that was given the slot.
        uid: Its uid, from the first token seen; empty before.
        pinned_at: When that token was seen, in seconds since the epoch; 0 before.
    """

    namespace: str
    pod: str
    container: str = ""
    uid: str = ""
    pinned_at: float = 0.0

    @property
    def reference(self) -> str:
        """How logs name the pod: namespace/name."""
        return f"{self.namespace}/{self.pod}"


@dataclass(frozen=True)
class Slot:
    """A right to use a QPU, which lives on at most one node and is held by at most one pod.

    Attributes:
        qpu: Its QPU.
        number: Its number, from 0.
        node: The node that offers it; empty while it is in the pool, where no node does.
        generation: Rises whenever a node loses it.
        holding: Who holds it, or None.
    """

    qpu: str
    number: int
    node: str = ""
    generation: int = 1
    holding: Holding | None = None

    @property
    def id(self) -> str:
        """The device ID."""
        return f"{self.qpu}-{self.number}"


@dataclass(frozen=True)
class NodeFacts:
    """What matters of a Node object.

    Attributes:
        labels: Its labels.
        out_of_service: Whether somebody vouches that it is down, by its taint.
    """

    labels: Mapping[str, str]
    out_of_service: bool = False
