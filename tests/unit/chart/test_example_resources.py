"""The example manifests are read and written without loss."""

from pathlib import Path

import pytest
import yaml

from kubeqpu.common import api

FOLDER = Path(__file__).resolve().parents[3] / "examples" / "resources"
KINDS = {kind.resource.kind: kind for kind in api.OBJECTS}
MANIFESTS = [
    manifest
    for path in sorted(FOLDER.glob("*.yaml"))
    for manifest in yaml.safe_load_all(path.read_text())
    if manifest.get("apiVersion") == api.API_VERSION
]


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda found: found["metadata"]["name"])
def test_every_field_of_an_example_is_known(manifest: dict[str, object]) -> None:
    kind = KINDS[str(manifest["kind"])]
    assert kind.from_manifest(manifest).to_manifest() == manifest  # type: ignore[arg-type]


def test_one_class_is_the_default_and_fallbacks_exist() -> None:
    classes = [
        api.QPUClass.from_manifest(manifest)
        for manifest in MANIFESTS
        if manifest["kind"] == "QPUClass"
    ]
    names = {found.metadata.name for found in classes}
    assert all(set(found.spec.fallback) <= names for found in classes)
    defaults = [
        found for found in classes
        if found.metadata.annotations.get("kubeqpu.io/is-default-class") == "true"
    ]  # fmt: skip
    assert len(defaults) == 1
    for found in classes:
        api.placement_class(found)
