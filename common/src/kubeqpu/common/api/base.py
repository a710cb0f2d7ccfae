"""What all API objects share: how they are written, what names them, how they are checked."""

from dataclasses import dataclass
from typing import ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, JsonValue
from pydantic.alias_generators import to_camel

from kubeqpu.common import names

GROUP = names.DOMAIN
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"


class Model(BaseModel):
    """A part of an API object: camelCase on the wire, unknown fields of newer versions ignored."""

    model_config = ConfigDict(
        frozen=True,
        alias_generator=to_camel,
        populate_by_name=True,
        use_attribute_docstrings=True,
    )


@dataclass(frozen=True)
class Column:
    """A column of `kubectl get`.

    Attributes:
        name: Its header.
        path: Where the value is, as JSONPath.
        type: How it is shown; a date is shown as an age.
        description: What it says.
        wide: Whether only `-o wide` shows it.
    """

    name: str
    path: str
    type: Literal["string", "integer", "number", "boolean", "date"]
    description: str
    wide: bool = False


AGE = Column("AGE", ".metadata.creationTimestamp", "date", "When the object was created.")


@dataclass(frozen=True)
class Resource:
    """How the API server serves a kind.

    Attributes:
        kind: Name of the kind.
        plural: Name in paths and RBAC rules.
        singular: Name for one object.
        short_names: What `kubectl get` takes as well.
        namespaced: Whether its objects live in namespaces.
        columns: Columns of `kubectl get`, after NAME.
    """

    kind: str
    plural: str
    singular: str
    short_names: tuple[str, ...]
    namespaced: bool
    columns: tuple[Column, ...]

    @property
    def name(self) -> str:
        """Name of its CustomResourceDefinition."""
        return f"{self.plural}.{GROUP}"


class APIObject(Model):
    """A whole object, such as `kubectl get -o json` gives it."""

    resource: ClassVar[Resource]

    @classmethod
    def from_manifest(cls, manifest: dict[str, JsonValue]) -> Self:
        """Reads an object.

        Raises:
            ValueError: If it is of another kind or version, or its fields are not valid.
        """
        found = (manifest.get("apiVersion"), manifest.get("kind"))
        if found != (API_VERSION, cls.resource.kind):
            raise ValueError(
                f"The object is {found[0]} {found[1]}, expected {API_VERSION} {cls.resource.kind}."
            )
        return cls.model_validate(manifest)

    def to_manifest(self) -> dict[str, JsonValue]:
        """Writes the fields that were set, and only them.

        What was left to its default stays out, so that server-side apply does not take ownership
        of fields that belong to someone else, such as a cordon.
        """
        fields: dict[str, JsonValue] = self.model_dump(
            mode="json", by_alias=True, exclude_unset=True, exclude_none=True
        )
        return {"apiVersion": API_VERSION, "kind": self.resource.kind, **fields}


def checked_by(*rules: tuple[str, str]) -> ConfigDict:
    """Adds rules that the API server checks.

    Args:
        rules: Pairs of a CEL expression over `self` (and `oldSelf`) and the message where it fails.
    """
    written: list[JsonValue] = [{"rule": rule, "message": message} for rule, message in rules]
    return ConfigDict(json_schema_extra={"x-kubernetes-validations": written})


def rules_of(*rules: tuple[str, str]) -> dict[str, JsonValue]:
    """Adds rules to a single field; see `checked_by`."""
    return {
        "x-kubernetes-validations": [{"rule": rule, "message": message} for rule, message in rules]
    }


def list_map(key: str) -> dict[str, JsonValue]:
    """Makes a list's items mergeable by one of their fields, so that each may have an owner."""
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [key]}


LIST_SET: dict[str, JsonValue] = {"x-kubernetes-list-type": "set"}
LIST_ATOMIC: dict[str, JsonValue] = {"x-kubernetes-list-type": "atomic"}
MAP_ATOMIC: dict[str, JsonValue] = {"x-kubernetes-map-type": "atomic"}
