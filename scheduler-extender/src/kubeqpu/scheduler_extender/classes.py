"""The classes that pods ask for by name, as placement wants them."""

from collections.abc import Iterable

from kubeqpu.common import api, classes
from kubeqpu.common.classes import STANDARD
from kubeqpu.common.placement import PlacementClass


class Classes:
    """All classes, as they are now."""

    def __init__(self) -> None:
        self._known = classes.Classes()
        self._plain: dict[str, PlacementClass] = {}
        self._standard = PlacementClass(STANDARD)
        self._default = STANDARD

    def __len__(self) -> int:
        return len(self._plain)

    def put(self, found: api.QPUClass) -> None:
        """Takes a class that was made or changed.

        Raises:
            ValueError: If its weights are all 0; then it stays as it was.
        """
        self._plain[found.metadata.name] = api.placement_class(found)
        self._known.put(found)
        self._default = self._known.default_name()

    def drop(self, name: str) -> None:
        """Forgets a class."""
        self._plain.pop(name, None)
        self._known.drop(name)
        self._default = self._known.default_name()

    def keep(self, names: Iterable[str]) -> None:
        """Forgets all classes but these."""
        for name in set(self._plain) - set(names):
            self.drop(name)

    def find(self, name: str) -> PlacementClass | None:
        """Finds a class; the empty name means the default class.

        `standard` exists always: where the cluster has none, it asks for nothing special.
        """
        wanted = name or self._default
        found = self._plain.get(wanted)
        return self._standard if found is None and wanted == STANDARD else found
