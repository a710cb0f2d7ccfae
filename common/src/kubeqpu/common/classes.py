"""All QPUClasses of a cluster, and which of them is the default."""

from collections.abc import Iterable
from datetime import UTC, datetime

from kubeqpu.common import api, names

STANDARD = "standard"

_NEVER = datetime.fromtimestamp(0, UTC)


class Classes:
    """The classes as they are now."""

    def __init__(self, classes: Iterable[api.QPUClass] = ()) -> None:
        self._classes = {found.metadata.name: found for found in classes}
        self._standard = api.QPUClass(
            metadata=api.ObjectMeta(name=STANDARD), spec=api.QPUClassSpec()
        )

    def __len__(self) -> int:
        return len(self._classes)

    def put(self, found: api.QPUClass) -> None:
        """Takes a class that was made or changed."""
        self._classes[found.metadata.name] = found

    def drop(self, name: str) -> None:
        """Forgets a class."""
        self._classes.pop(name, None)

    def keep(self, those: Iterable[str]) -> None:
        """Forgets all classes but these."""
        for name in set(self._classes) - set(those):
            self.drop(name)

    def find(self, name: str) -> api.QPUClass | None:
        """Finds a class; the empty name means the default class.

        `standard` exists always: where the cluster has none, it asks for nothing special.
        """
        wanted = name or self.default_name()
        found = self._classes.get(wanted)
        return self._standard if found is None and wanted == STANDARD else found

    def default_name(self) -> str:
        """Names the default class: of several the newest, as for StorageClasses."""
        marked = self.defaults()
        return marked[-1] if marked else STANDARD

    def defaults(self) -> list[str]:
        """Names the classes that say they are the default, the newest last."""
        marked = [
            (found.metadata.creation_timestamp or _NEVER, name)
            for name, found in self._classes.items()
            if found.metadata.annotations.get(names.ANNOTATION_DEFAULT_CLASS) == "true"
        ]
        return [name for _, name in sorted(marked)]
