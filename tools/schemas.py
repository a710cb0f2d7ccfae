"""From pydantic's JSON schemas to the structural ones of CustomResourceDefinitions."""

from pydantic import BaseModel, JsonValue

Schema = dict[str, JsonValue]

# Written by pydantic, and not allowed in a structural schema.
_DROPPED = ("title", "propertyNames", "$defs")


def structural_schema(model: type[BaseModel]) -> Schema:
    """Gives a model's schema as the API server takes it: references resolved, all in one tree."""
    schema: Schema = model.model_json_schema(by_alias=True)
    definitions = schema.get("$defs", {})
    assert isinstance(definitions, dict)
    return _structural(schema, definitions)


def _structural(schema: Schema, definitions: Schema) -> Schema:
    flat = _resolve(schema, definitions)
    result = {key: value for key, value in flat.items() if key not in _DROPPED}
    if isinstance(text := result.get("description"), str):
        result["description"] = flow(text)
    if "enum" in result:
        result["type"] = "string"
    if result.get("type") == "integer":
        result["format"] = "int64"
    for bound in ("minimum", "maximum"):
        strict = f"exclusive{bound.capitalize()}"
        if strict in result:
            result[bound], result[strict] = result[strict], True
    for key in ("properties", "items", "additionalProperties"):
        inner = result.get(key)
        if isinstance(inner, dict):
            result[key] = (
                {name: _structural(_as_schema(part), definitions) for name, part in inner.items()}
                if key == "properties"
                else _structural(inner, definitions)
            )
    return _with_default(result)


def _resolve(schema: Schema, definitions: Schema) -> Schema:
    """Replaces a reference, or an optional value's two alternatives, by what is meant."""
    options = schema.get("anyOf")
    if isinstance(options, list):
        (only,) = (option for option in options if option != {"type": "null"})
        rest = {key: value for key, value in schema.items() if key not in {"anyOf", "default"}}
        return _resolve({**_as_schema(only), **rest}, definitions)
    reference = schema.get("$ref")
    if isinstance(reference, str):
        target = _as_schema(definitions[reference.removeprefix("#/$defs/")])
        rest = {key: value for key, value in schema.items() if key != "$ref"}
        return _resolve({**target, **rest}, definitions)
    return schema


def _with_default(schema: Schema) -> Schema:
    """Keeps defaults that say something, and spells out those of objects.

    An object that may be left out needs a default for its own fields to get theirs, and one that
    passes its rules by itself.
    """
    if "default" not in schema:
        return schema
    properties = schema.get("properties")
    if isinstance(properties, dict):
        parts = {name: _as_schema(part) for name, part in properties.items()}
        default = {name: part["default"] for name, part in parts.items() if "default" in part}
        return {**schema, "default": default} if default else _without_default(schema)
    return _without_default(schema) if schema["default"] in ("", [], {}, None) else schema


def _without_default(schema: Schema) -> Schema:
    return {key: value for key, value in schema.items() if key != "default"}


def without_defaults(schema: Schema) -> Schema:
    """Removes all defaults: nobody but its writer may put anything into a status."""
    result = _without_default(schema)
    for key in ("items", "additionalProperties"):
        if isinstance(inner := result.get(key), dict):
            result[key] = without_defaults(inner)
    if isinstance(properties := result.get("properties"), dict):
        result["properties"] = {
            name: without_defaults(_as_schema(part)) for name, part in properties.items()
        }
    return result


def flow(text: str) -> str:
    """Joins a docstring's lines, but not its paragraphs."""
    return "\n\n".join(" ".join(part.split()) for part in text.split("\n\n"))


def _as_schema(value: JsonValue) -> Schema:
    assert isinstance(value, dict)
    return value
