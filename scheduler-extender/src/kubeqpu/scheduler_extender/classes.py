"""The classes that pods ask for by name."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from kubeqpu.common import api, names
from kubeqpu.common.placement import PlacementClass
from kubeqpu.kube.resources import Manifest

STANDARD = "standard"


@dataclass(frozen=True)
class SeenClass:
    """A class of the cluster.

    Attributes:
        plain: As placement wants it.
        default: Whether work that names no class gets this one.
        created_at: When it was made.
    """

    plain: PlacementClass
    default: bool
    created_at: datetime


def read_class(manifest: Manifest) -> SeenClass:
    """Reads a QPUClass object.

    Raises:
        ValueError: If it is none, or of a form that this version does not know.
    """
    found = api.QPUClass.from_manifest(manifest)
    metadata = found.metadata
    return SeenClass(
        plain=api.placement_class(found),
        default=metadata.annotations.get(names.ANNOTATION_DEFAULT_CLASS) == "true",
        created_at=metadata.creation_timestamp or datetime.fromtimestamp(0, UTC),
    )


class Classes:
    """All classes, as they are now.

    Attributes:
        version: Grows with every change.
    """

    def __init__(self) -> None:
        self.version = 0
        self._seen: dict[str, SeenClass] = {}
        self._standard = PlacementClass(STANDARD)
        self._default = STANDARD

    def __len__(self) -> int:
        return len(self._seen)

    def put(self, seen: SeenClass) -> None:
        """Takes a class that was made or changed."""
        if self._seen.get(seen.plain.name) != seen:
            self._seen[seen.plain.name] = seen
            self._choose_default()

    def drop(self, name: str) -> None:
        """Forgets a class."""
        if self._seen.pop(name, None) is not None:
            self._choose_default()

    def keep(self, names: Iterable[str]) -> None:
        """Forgets all classes but these."""
        for name in set(self._seen) - set(names):
            self.drop(name)

    def find(self, name: str) -> PlacementClass | None:
        """Finds a class; the empty name means the default class.

        `standard` exists always: where the cluster has none, it asks for nothing special.
        """
        wanted = name or self._default
        seen = self._seen.get(wanted)
        if seen is not None:
            return seen.plain
        return self._standard if wanted == STANDARD else None

    def _choose_default(self) -> None:
        # Of several the newest, as for StorageClasses.
        marked = [(seen.created_at, name) for name, seen in self._seen.items() if seen.default]
        self._default = max(marked)[1] if marked else STANDARD
        self.version += 1
