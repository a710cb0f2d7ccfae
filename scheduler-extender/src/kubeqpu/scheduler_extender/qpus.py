"""The QPUs as the API server shows them, and the nodes that have their slots."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from kubeqpu.common import api
from kubeqpu.common.qpu import QPU
from kubeqpu.kube.resources import Manifest


@dataclass(frozen=True)
class SeenQPU:
    """A QPU, as its object was when it was last seen.

    Attributes:
        plain: As placement wants it.
        resource: Extended resource that offers its slots.
        nodes: The nodes that have slots of it, free or held, and whether one seems free there.
        seen_at: When the object came, with time zone.
    """

    plain: QPU
    resource: str
    nodes: Mapping[str, bool]
    seen_at: datetime

    def differs(self, other: "SeenQPU") -> bool:
        """Tells whether anything but the time differs."""
        return (self.plain, self.resource, self.nodes) != (
            other.plain,
            other.resource,
            other.nodes,
        )


def read_qpu(manifest: Manifest, seen_at: datetime) -> SeenQPU:
    """Reads a QPU object.

    Raises:
        ValueError: If it is none, or of a form that this version does not know.
    """
    found = api.QPU.from_manifest(manifest)
    return SeenQPU(
        plain=api.plain_qpu(found),
        resource=str(found.spec.resource_name),
        nodes={
            node.name: node.held < node.slots
            for node in found.status.nodes
            if node.slots or node.held
        },
        seen_at=seen_at,
    )
