"""An object being changed, with the JSON patch (RFC 6902) that makes the same changes."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from kubeqpu.common.requests import JSONObject

Path = Sequence[str | int]


@dataclass(frozen=True)
class Operation:
    """One operation of a JSON patch: `add`, which replaces what is there.

    Attributes:
        path: A JSON pointer.
        value: What is added.
    """

    path: str
    value: JsonValue

    def to_manifest(self) -> JSONObject:
        """Writes it as JSON patches have it."""
        return {"op": "add", "path": self.path, "value": self.value}


@dataclass(frozen=True)
class Verdict:
    """What becomes of an object.

    Attributes:
        refusal: Why it is not taken; empty if it is.
        operations: What is changed.
        warnings: What its author should know.
        gated: Where it waits: `kueue`, `scheduler`, or empty.
    """

    refusal: str = ""
    operations: tuple[Operation, ...] = ()
    warnings: tuple[str, ...] = ()
    gated: str = ""


class Draft:
    """Records changes of an object, which itself stays as it is.

    A part that is null counts as absent.

    Args:
        manifest: The object.
    """

    def __init__(self, manifest: JSONObject) -> None:
        self.manifest = copy.deepcopy(manifest)
        self._operations: list[Operation] = []

    @property
    def operations(self) -> tuple[Operation, ...]:
        """The changes so far."""
        return tuple(self._operations)

    def put(self, path: Path, value: JsonValue) -> None:
        """Sets a member of an object, and makes the objects around it that are missing."""
        *around, key = path
        parent = self._enter(around)
        if parent.get(str(key)) == value:
            return
        parent[str(key)] = copy.deepcopy(value)
        self._operations.append(Operation(_pointer(path), value))

    def append(self, path: Path, value: JsonValue) -> None:
        """Adds an item to a list, which is made if it is missing."""
        *around, key = path
        parent = self._enter(around)
        found = parent.get(str(key))
        if not isinstance(found, list):
            self.put(path, [value])
            return
        found.append(copy.deepcopy(value))
        self._operations.append(Operation(_pointer([*path, "-"]), value))

    def _enter(self, path: Path) -> JSONObject:
        here: JsonValue = self.manifest
        for depth, key in enumerate(path):
            if isinstance(here, list):
                here = here[int(key)]
                continue
            assert isinstance(here, dict)
            if here.get(str(key)) is None:
                here[str(key)] = {}
                self._operations.append(Operation(_pointer(path[: depth + 1]), {}))
            here = here[str(key)]
        assert isinstance(here, dict)
        return here


def _pointer(path: Path) -> str:
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)
