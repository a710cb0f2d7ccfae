"""Writes values.yaml, values.schema.json and the reference page from the typed values."""

import json
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import yaml
from pydantic import BaseModel, JsonValue

from tools.schemas import Schema, flow
from tools.values import Values
from tools.values_parts import Section

ROOT = Path(__file__).resolve().parents[1]
CHART = ROOT / "charts" / "kubeqpu"
REFERENCE = ROOT / "docs" / "reference" / "helm-values.md"

_WIDTH = 100
_YAML_HEAD = "# Made by `make generate` from tools/values.py; change that, not this file.\n"
_PAGE_HEAD = """\
# Helm values

Made by `make generate` from `tools/values.py`, as are the chart's `values.yaml` and
`values.schema.json`. Unknown keys are refused.

| Key | Default | Meaning |
|---|---|---|
"""
_PAGE_QPU = """
A gateway, `gateways.<name>`, takes every key of `gatewayDefaults`, and `qpus`. A QPU,
`gateways.<name>.qpus.<name>`, takes these:

| Key | Default | Meaning |
|---|---|---|
"""


def schema() -> Schema:
    """Gives the JSON schema that Helm checks values with."""
    made: Schema = Values.model_json_schema(by_alias=True)
    cleaned = _clean(made)
    assert isinstance(cleaned, dict)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **cleaned}


def _clean(part: JsonValue) -> JsonValue:
    """Drops titles and defaults: the defaults are in values.yaml, and a gateway has none."""
    if isinstance(part, list):
        return [_clean(item) for item in part]
    if not isinstance(part, dict):
        return part
    result: Schema = {}
    for key, value in part.items():
        if key in {"properties", "$defs"} and isinstance(value, dict):
            result[key] = {name: _clean(inner) for name, inner in value.items()}
        elif key == "description":
            result[key] = flow(str(value))
        elif key not in {"title", "default"}:
            result[key] = _clean(value)
    return _with_named_keys(result)


def _with_named_keys(schema: Schema) -> Schema:
    """Makes a pattern of keys binding: pydantic writes one that lets other keys be anything."""
    patterns = schema.get("patternProperties")
    if not isinstance(patterns, dict):
        return schema
    ((pattern, inner),) = patterns.items()
    names = schema.get("propertyNames", {})
    assert isinstance(names, dict)
    rest = {key: value for key, value in schema.items() if key != "patternProperties"}
    return {**rest, "propertyNames": {**names, "pattern": pattern}, "additionalProperties": inner}


def values_yaml() -> str:
    """Writes the default values, each with what it means."""
    return _YAML_HEAD + "".join(_lines(Values(), 0))


def _lines(section: Section, depth: int) -> Iterator[str]:
    indent = "  " * depth
    for key, meaning, value in _fields(section):
        yield "" if depth else "\n"
        yield from (
            f"{line}\n"
            for line in textwrap.wrap(
                meaning, _WIDTH, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# "
            )
        )
        if isinstance(value, Section):
            yield f"{indent}{key}:\n"
            yield from _lines(value, depth + 1)
        else:
            text = yaml.safe_dump({key: _plain(value)}, sort_keys=False, width=_WIDTH)
            yield textwrap.indent(text, indent)


def _fields(section: Section) -> Iterator[tuple[str, str, object]]:
    for name, field in type(section).model_fields.items():
        yield field.alias or name, flow(field.description or ""), getattr(section, name)


def _plain(value: object) -> JsonValue:
    """Gives a value as YAML has it; of sections within mappings only what was set."""
    if isinstance(value, BaseModel):
        made: JsonValue = value.model_dump(mode="json", by_alias=True, exclude_unset=True)
        return made
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return str(value)


def reference() -> str:
    """Writes the page with all keys, their defaults and meanings."""
    qpu = next(iter(Values().gateways["default"].qpus.values()))
    blank = type(qpu)(provider="-")
    return _PAGE_HEAD + "".join(_rows(Values(), "")) + _PAGE_QPU + "".join(_rows(blank, ""))


def _rows(section: Section, prefix: str) -> Iterator[str]:
    for key, meaning, value in _fields(section):
        if isinstance(value, Section):
            yield from _rows(value, f"{prefix}{key}.")
            continue
        default = json.dumps(_plain(value))
        shown = "required" if default == '"-"' else f"`{default}`"
        yield f"| `{prefix}{key}` | {shown} | {meaning} |\n"


def main() -> int:
    """Writes all three files."""
    CHART.mkdir(parents=True, exist_ok=True)
    REFERENCE.parent.mkdir(parents=True, exist_ok=True)
    (CHART / "values.yaml").write_text(values_yaml(), encoding="utf-8")
    text = json.dumps(schema(), indent=2) + "\n"
    (CHART / "values.schema.json").write_text(text, encoding="utf-8")
    REFERENCE.write_text(reference(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
