"""What is refused or told of QPUClasses and QPUQuotas."""

from typing import Any

import pytest

from kubeqpu.admission.outlooks import Offer
from kubeqpu.admission.webhooks.objects import validate_class, validate_quota
from kubeqpu.common import api, qpu
from kubeqpu.common.classes import Classes
from tests.unit.admission.webhook_objects import NOW, QPU, Object

DEFAULT = "kubeqpu.io/is-default-class"


def make_class(name: str = "fast", mark: str | None = None, **spec: Any) -> Object:
    metadata = {"name": name, "annotations": {DEFAULT: mark} if mark is not None else {}}
    head = {"apiVersion": api.API_VERSION, "kind": "QPUClass"}
    return {**head, "metadata": metadata, "spec": spec}


def selecting(**selector: Any) -> Object:
    return make_class(requirements={"selector": selector})


def expression(key: str, operator: str, *values: str) -> Object:
    return {"key": key, "operator": operator, "values": list(values)}


def classes(*manifests: Object) -> Classes:
    return Classes(api.QPUClass.from_manifest(found) for found in manifests)


@pytest.mark.parametrize(
    ("manifest", "words"),
    [
        (make_class(mark="yes"), [f"annotations[{DEFAULT}]", "'yes'", '"true" or "false"']),
        (selecting(matchLabels={"a b": "x"}), ["matchLabels[a b]", "no label key"]),
        (selecting(matchLabels={"Up/a": "x"}), ["matchLabels[Up/a]", "no label key"]),
        (selecting(matchLabels={"tier": "a b"}), ["matchLabels[tier]", "'a b'", "no QPU"]),
        (
            selecting(matchExpressions=[expression("tier", "In", "gold", "-")]),
            ["matchExpressions[0]", "'-'", "no QPU"],
        ),
        (
            selecting(matchLabels={"tier": "gold"},
                      matchExpressions=[expression("tier", "NotIn", "gold")]),
            ["matchExpressions[0] (tier NotIn (gold))", "matchLabels[tier] ('gold')", "remove one"],
        ),
    ],
)  # fmt: skip
def test_what_selects_nothing_ever_is_refused(manifest: Object, words: list[str]) -> None:
    refusal = validate_class(manifest, Classes(), [], NOW).refusal
    for word in words:
        assert word in refusal


@pytest.mark.parametrize(
    "manifest",
    [
        make_class(mark="true"),
        make_class(mark="false", fallback=["standard"]),
        selecting(matchLabels={"example.com/tier": "gold", "empty": ""},
                  matchExpressions=[expression("example.com/tier", "In", "gold")]),
    ],
)  # fmt: skip
def test_what_makes_sense_is_taken_without_a_word(manifest: Object) -> None:
    verdict = validate_class(manifest, Classes(), [], NOW)
    assert (verdict.refusal, verdict.warnings) == ("", ())


def test_a_second_default_is_told() -> None:
    known = classes(make_class("old", "true"))
    (warning,) = validate_class(make_class("new", "true"), known, [], NOW).warnings
    assert "old is a default class too" in warning
    assert validate_class(make_class("old", "true"), known, [], NOW).warnings == ()


def test_fallbacks_that_lead_nowhere_are_told() -> None:
    known = classes(make_class("slow", fallback=["fast"]))
    verdict = validate_class(make_class(fallback=["slow", "gone"]), known, [], NOW)
    back, gone = verdict.warnings
    assert "slow, which falls back to this class" in back
    assert "gone, which does not exist" in gone


def test_a_class_that_nothing_fits_is_told() -> None:
    conditions = {kind: qpu.Condition(kind, qpu.ConditionStatus.TRUE)
                  for kind in ("Ready", "Accepting")}  # fmt: skip
    offers = [Offer(QPU, qpu.QPU("fez", "fake", False, 27, conditions))]
    wide = make_class(requirements={"minQubits": 100})
    (warning,) = validate_class(wide, Classes(), offers, NOW).warnings
    assert "None of 1 QPUs fits" in warning
    assert "27 qubits below the 100" in warning
    offers.append(Offer(QPU, qpu.QPU("heron", "fake", False, 156, conditions)))
    assert validate_class(wide, Classes(), offers, NOW).warnings == ()


def test_quotas_that_let_nothing_run_are_told() -> None:
    head: Object = {"apiVersion": api.API_VERSION, "kind": "QPUQuota", "metadata": {"name": "q"}}
    spec: Object = {"hard": {"jobs": 0, "shots": 1000, "qpuSeconds": 5.5}}
    used: Object = {"used": {"shots": 1000, "qpuSeconds": 5.4}}
    shots, jobs = validate_quota({**head, "spec": spec, "status": used}).warnings
    assert "hard.shots is 1000 and 1000 are used" in shots
    assert "hard.jobs is 0" in jobs
