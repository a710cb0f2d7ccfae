"""What Kueue reads and writes on pods, Jobs and JobSets."""

from collections.abc import Mapping

_DOMAIN = "kueue.x-k8s.io"

LABEL_QUEUE = f"{_DOMAIN}/queue-name"
LABEL_MANAGED = f"{_DOMAIN}/managed"
# The pods of a Job that Kueue admitted carry it.
LABEL_POD_SET = f"{_DOMAIN}/podset"
# Gates by name, separated by commas: no quota is reserved until all are gone. They can be set when
# the object is created, and later only be removed.
ANNOTATION_GATED_BY = f"{_DOMAIN}/admission-gated-by"


def is_queued(labels: Mapping[str, str]) -> bool:
    """Tells whether Kueue admits an object by itself."""
    return bool(labels.get(LABEL_QUEUE)) or labels.get(LABEL_MANAGED) == "true"


def is_admitted(labels: Mapping[str, str]) -> bool:
    """Tells whether a pod was made by a Job that Kueue admitted."""
    return LABEL_POD_SET in labels


def split_gates(annotation: str) -> list[str]:
    """Gives the gates that an annotation names."""
    return [gate for gate in (part.strip() for part in annotation.split(",")) if gate]


def join_gates(gates: list[str]) -> str:
    """Writes gates as an annotation."""
    return ",".join(gates)
