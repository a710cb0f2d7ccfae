"""The chart's values: what is written from the typed ones, and what the gateway makes of them."""

import json
from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel, JsonValue, ValidationError
from pydantic.alias_generators import to_snake

from kubeqpu.qpu_gateway.providers.aer import AerOptions
from kubeqpu.qpu_gateway.providers.base import QPUSettings
from kubeqpu.qpu_gateway.providers.fake import FakeOptions
from kubeqpu.qpu_gateway.workers import WorkerLimits
from tools import values_file
from tools.values import QPU, Values
from tools.values_parts import DNS_LABEL

OPTIONS: dict[str, type[BaseModel]] = {"aer": AerOptions, "fake": FakeOptions}
EXAMPLE = Path(values_file.ROOT) / "examples" / "resources" / "values-lab.yaml"


def test_the_file_says_what_the_types_say() -> None:
    assert Values.model_validate(yaml.safe_load(values_file.values_yaml())) == Values()


def test_every_key_is_explained() -> None:
    lines = values_file.values_yaml().splitlines()
    for number, line in enumerate(lines):
        if line and not line.startswith((" ", "#")):
            assert lines[number - 1].startswith("# "), line
    assert '| `gatewayDefaults.persistence.size` | `"8Gi"` | Size of' in values_file.reference()


def test_unknown_keys_are_refused_everywhere() -> None:
    schema = values_file.schema()
    definitions = schema["$defs"]
    assert isinstance(definitions, dict)
    for name, part in [("values", schema), *definitions.items()]:
        assert isinstance(part, dict)
        free = name == "JsonValue" or "enum" in part
        assert free or part["additionalProperties"] is False, name


def schema_part(*path: str) -> dict[str, JsonValue]:
    part: JsonValue = values_file.schema()
    for key in path:
        assert isinstance(part, dict)
        part = part[key]
    assert isinstance(part, dict)
    return part


def test_names_that_kubernetes_refuses_are_refused() -> None:
    for wrong in ('{"Lab": {}}', '{"lab": {"qpus": {"under_score": {"provider": "aer"}}}}'):
        with pytest.raises(ValidationError):
            Values.model_validate({"gateways": json.loads(wrong)})
    gateways = schema_part("properties", "gateways")
    assert gateways["propertyNames"] == {"maxLength": 30, "pattern": DNS_LABEL}
    assert gateways["additionalProperties"] == {"$ref": "#/$defs/Gateway"}
    assert "patternProperties" not in json.dumps(values_file.schema())


def gateway_settings(name: str, qpu: QPU) -> QPUSettings:
    """Reads a QPU as the gateway reads what the chart's template writes."""
    written = qpu.model_dump(mode="json", by_alias=True, exclude_unset=True)
    known = {to_snake(key): value for key, value in written.items()}
    # Settings that the gateway gets together with its registration.
    for later in ("slot_node_selector", "credentials_secret"):
        known.pop(later, None)
    return QPUSettings.model_validate({"name": name, **known})


@pytest.mark.parametrize("source", [{}, yaml.safe_load(EXAMPLE.read_text())], ids=["own", "lab"])
def test_the_gateway_understands_its_qpus(source: dict[str, dict[str, object]]) -> None:
    gateways = {key: value for key, value in source.get("gateways", {}).items() if value}
    values = Values.model_validate({"gateways": gateways} if gateways else {})
    assert values.gateways
    for gateway in values.gateways.values():
        WorkerLimits.model_validate(gateway.config["workers"])
        for name, qpu in gateway.qpus.items():
            settings = gateway_settings(name, qpu)
            OPTIONS[settings.provider].model_validate(settings.options)
            assert settings.slots == qpu.slots


def test_the_default_workers_fit_into_the_default_memory() -> None:
    defaults = Values().gateway_defaults
    workers = WorkerLimits.model_validate(defaults.config["workers"])
    assert defaults.resources["limits"] == {"memory": "4Gi"}
    assert workers.max_workers * workers.memory_bytes < 4 * 2**30
