"""Makes the CustomResourceDefinitions in the chart from the typed models."""

import sys
from pathlib import Path

import yaml
from pydantic import JsonValue

from kubeqpu.common import api
from tools.schemas import Schema, flow, structural_schema, without_defaults

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "charts" / "kubeqpu" / "templates" / "crds"

# Helm deletes its templates' objects with the release; this one says to leave it.
_HEAD = """\
{{- /* Made by `make generate` from kubeqpu.common.api; change the models, not this file. */ -}}
{{- if .Values.crds.enabled }}
"""
_KEEP = """\
  {{- if .Values.crds.keep }}
  annotations:
    helm.sh/resource-policy: keep
  {{- end }}
  labels:
    {{- include "kubeqpu.labels" . | nindent 4 }}
"""
_TAIL = "{{- end }}\n"


def definition(kind: type[api.APIObject]) -> Schema:
    """Makes the CustomResourceDefinition of a kind."""
    resource = kind.resource
    status = "status" in kind.model_fields
    version: Schema = {
        "name": api.VERSION,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": _object_schema(kind)},
        "additionalPrinterColumns": [_column(column) for column in resource.columns],
    }
    if status:
        version["subresources"] = {"status": {}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": resource.name},
        "spec": {
            "group": api.GROUP,
            "names": {
                "kind": resource.kind,
                "listKind": f"{resource.kind}List",
                "plural": resource.plural,
                "singular": resource.singular,
                "categories": ["kubeqpu"],
                **({"shortNames": list(resource.short_names)} if resource.short_names else {}),
            },
            "scope": "Namespaced" if resource.namespaced else "Cluster",
            "versions": [version],
        },
    }


def _object_schema(kind: type[api.APIObject]) -> Schema:
    schema = structural_schema(kind)
    properties = schema["properties"]
    assert isinstance(properties, dict)
    fields: Schema = {
        "apiVersion": {"type": "string"},
        "kind": {"type": "string"},
        "metadata": {"type": "object"},
        "spec": properties["spec"],
    }
    if "status" in properties:
        status = properties["status"]
        assert isinstance(status, dict)
        fields["status"] = without_defaults(status)
    return {
        "type": "object",
        "description": flow(str(schema["description"])),
        "required": ["spec"],
        "properties": fields,
        **{key: value for key, value in schema.items() if key.startswith("x-")},
    }


def _column(column: api.Column) -> dict[str, JsonValue]:
    written: dict[str, JsonValue] = {
        "name": column.name,
        "type": column.type,
        "jsonPath": column.path,
        "description": column.description,
    }
    return {**written, "priority": 1} if column.wide else written


def template(kind: type[api.APIObject]) -> str:
    """Writes a kind's definition as a chart's template.

    Raises:
        ValueError: If a text looks like a template's action.
    """
    text = yaml.safe_dump(definition(kind), sort_keys=False, width=100, allow_unicode=True)
    if "{{" in text:
        raise ValueError(f"The schema of {kind.resource.kind} contains {{{{, which Helm would run.")
    name = f"  name: {kind.resource.name}\n"
    before, after = text.split(name)
    return f"{_HEAD}{before}{name}{_KEEP}{after}{_TAIL}"


def main() -> int:
    """Writes one file per kind, and removes those of kinds that are no more."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    wanted = {f"{kind.resource.plural}.yaml": template(kind) for kind in api.OBJECTS}
    for path in FOLDER.glob("*.yaml"):
        if path.name not in wanted:
            path.unlink()
    for name, text in wanted.items():
        (FOLDER / name).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
