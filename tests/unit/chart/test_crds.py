"""The CustomResourceDefinitions made from the typed models."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from pydantic import Field

from kubeqpu.common import api
from kubeqpu.common.api.base import Model
from tools import crds
from tools.schemas import structural_schema

KINDS = pytest.mark.parametrize("kind", api.OBJECTS, ids=lambda kind: kind.resource.kind)


def schema_of(kind: type[api.APIObject]) -> dict[str, Any]:
    made: dict[str, Any] = crds.definition(kind)["spec"]["versions"][0]  # type: ignore[call-overload, index, assignment]
    schema: dict[str, Any] = made["schema"]["openAPIV3Schema"]
    return schema


def parts(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, schema
    for name, inner in schema.get("properties", {}).items():
        yield from parts(inner, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            yield from parts(schema[key], f"{path}[]")


@KINDS
def test_every_field_explains_itself(kind: type[api.APIObject]) -> None:
    for path, part in parts(schema_of(kind)):
        if path in {".apiVersion", ".kind", ".metadata"} or path.endswith("[]"):
            continue
        assert part.get("description", "").endswith("."), path


@KINDS
def test_every_part_is_structural_and_bounded(kind: type[api.APIObject]) -> None:
    for path, part in parts(schema_of(kind)):
        assert "type" in part, path
        assert not {"$ref", "anyOf", "title", "propertyNames"} & part.keys(), path
        if part["type"] == "array":
            # Without an owner per item, two writers would overwrite each other's.
            assert part["x-kubernetes-list-type"] in {"map", "set", "atomic"}, path
            assert part["maxItems"] <= 1000, path


@KINDS
def test_a_status_has_no_defaults(kind: type[api.APIObject]) -> None:
    status = schema_of(kind)["properties"].get("status", {})
    assert [path for path, part in parts(status) if "default" in part] == []


@KINDS
def test_columns_show_fields_that_exist(kind: type[api.APIObject]) -> None:
    known = {path for path, _ in parts(schema_of(kind))}
    for column in kind.resource.columns:
        if column.path.startswith(".metadata"):
            continue
        path = re.sub(r"\[\?.*\]\.", "[].", column.path)
        assert path in known, column.name


def test_conditions_have_an_owner_each() -> None:
    conditions = schema_of(api.QPU)["properties"]["status"]["properties"]["conditions"]
    assert conditions["x-kubernetes-list-type"] == "map"
    assert conditions["x-kubernetes-list-map-keys"] == ["type"]
    required = conditions["items"]["required"]
    assert required == ["type", "status", "reason", "message", "lastTransitionTime"]


def test_the_columns_of_a_qpu_are_the_promised_ones() -> None:
    shown = [column.name for column in api.QPU.resource.columns if not column.wide]
    assert shown == [
        "READY", "QUBITS", "WAIT", "QUEUE", "2Q-ERROR", "CALIBRATED", "SLOTS", "PROVIDER", "AGE"
    ]  # fmt: skip


def test_a_class_left_empty_gets_every_default_spelled_out() -> None:
    spec = schema_of(api.QPUClass)["properties"]["spec"]["properties"]
    assert spec["weights"]["default"] == {
        "wait": 1.0, "fidelity": 1.0, "freshness": 0.1, "utilisation": 0.1
    }  # fmt: skip
    assert spec["requirements"]["default"] == {"minQubits": 1, "simulators": "Allow"}
    assert "default" not in spec["requirements"]["properties"]["maxCalibrationAge"]


def test_exclusive_bounds_are_written_as_the_api_server_reads_them() -> None:
    spec = schema_of(api.QPUClass)["properties"]["spec"]["properties"]
    error = spec["requirements"]["properties"]["maxMedianTwoQubitError"]
    assert (error["minimum"], error["exclusiveMinimum"], error["maximum"]) == (0, True, 1)


@KINDS
def test_a_template_is_yaml_between_its_actions(kind: type[api.APIObject]) -> None:
    text = crds.template(kind)
    plain = "\n".join(line for line in text.splitlines() if "{{" not in line)
    found = yaml.safe_load(plain)
    assert found["metadata"]["name"] == kind.resource.name
    assert found["spec"] == crds.definition(kind)["spec"]


def test_braces_in_a_text_are_refused() -> None:
    class Wrong(api.APIObject):
        """Something with {{ braces }}."""

        resource = api.QPU.resource
        spec: dict[str, str] = Field(default_factory=dict)

    with pytest.raises(ValueError, match="which Helm would run"):
        crds.template(Wrong)


def test_an_optional_part_becomes_the_part() -> None:
    class Inner(Model):
        """Inner."""

        size: int = Field(default=3, ge=1)
        """Size."""

    class Outer(Model):
        """Outer."""

        inner: Inner | None = None
        """An inner one."""

    assert structural_schema(Outer)["properties"] == {
        "inner": {
            "description": "An inner one.",
            "type": "object",
            "properties": {
                "size": {
                    "default": 3,
                    "description": "Size.",
                    "minimum": 1,
                    "type": "integer",
                    "format": "int64",
                }
            },
        }
    }
