"""What pods ask for, as it is read from pods, Jobs and JobSets."""

from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubeqpu.common import api
from kubeqpu.common.classes import Classes
from kubeqpu.common.placement import CircuitShape
from kubeqpu.common.quantities import parse_quantity
from kubeqpu.common.requests import (
    MalformedWishError,
    PodRequest,
    find_templates,
    read_request,
)

Object = dict[str, Any]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["metadata", "spec", "template", "containers", "initContainers",
                         "resources", "limits", "labels", "annotations", "replicatedJobs"]),
        inner,
    ),
    max_leaves=12,
)  # fmt: skip


def container(part: str, **amounts: str) -> Object:
    return {"resources": {part: {f"kubeqpu.io/{key}": text for key, text in amounts.items()}}}


def test_a_pod_asks_with_its_containers_and_annotations() -> None:
    pod: Object = {
        "kind": "Pod",
        "metadata": {
            "labels": {"kubeqpu.io/client": "true"},
            "annotations": {
                "kubeqpu.io/class": " fast ",
                "kubeqpu.io/min-qubits": "27",
                "kubeqpu.io/circuit-shape": "50,10",
            },
        },
        "spec": {
            "containers": [container("limits", qpu="1"), {}],
            "initContainers": [container("requests", **{"cpu-simulator": "2"})],
            "ephemeralContainers": [container("limits", **{"gpu-simulator": "2"})],
        },
    }
    (template,) = find_templates(pod)
    assert read_request(template) == PodRequest(
        ("kubeqpu.io/cpu-simulator", "kubeqpu.io/qpu"), "fast", 27, CircuitShape(50, 10), True
    )


def test_jobs_and_jobsets_ask_with_their_templates() -> None:
    template: Object = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": []}}
    job: Object = {"kind": "Job", "spec": {"template": template}}
    jobset: Object = {
        "kind": "JobSet",
        "spec": {"replicatedJobs": [{"template": job}, {"template": job}]},
    }
    paths = [found.path for found in (*find_templates(job), *find_templates(jobset))]
    assert paths == [
        "spec.template",
        "spec.replicatedJobs[0].template.spec.template",
        "spec.replicatedJobs[1].template.spec.template",
    ]
    assert {found.labels["a"] for found in find_templates(jobset)} == {"b"}
    assert find_templates({"kind": "Deployment", "spec": {"template": template}}) == ()


@pytest.mark.parametrize(
    ("key", "text"), [("class", "Fast!"), ("min-qubits", "-1"), ("circuit-shape", "1;2")]
)
def test_annotations_that_make_no_sense_are_named(key: str, text: str) -> None:
    metadata: Object = {"annotations": {f"kubeqpu.io/{key}": text}}
    (template,) = find_templates({"kind": "Pod", "metadata": metadata})
    with pytest.raises(MalformedWishError) as refused:
        read_request(template)
    assert refused.value.annotation == f"kubeqpu.io/{key}"
    assert text in str(refused.value)


@given(st.sampled_from(["Pod", "Job", "JobSet"]), JSON, JSON)
def test_objects_of_any_form_are_read(kind: str, metadata: Any, spec: Any) -> None:
    for template in find_templates({"kind": kind, "metadata": metadata, "spec": spec}):
        assert read_request(template).resources == ()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1), ("1000m", 1), ("0.5", Fraction(1, 2)), ("2k", 2000), ("1Ki", 1024), ("-3", -3),
        ("1e3", 1000), ("1E", 10**18), ("15e-1", Fraction(3, 2)), ("1.", 1),
    ],
)  # fmt: skip
def test_quantities_are_exact(text: str, value: Fraction) -> None:
    assert parse_quantity(text) == value


@pytest.mark.parametrize("text", ["", "one", "1 ", "1KB", "0x1", "--1", "1e", "٣"])
def test_what_is_no_quantity_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no amount"):
        parse_quantity(text)


def make_class(name: str, default: str = "", age_days: int = 0) -> api.QPUClass:
    created = datetime(2026, 11, 23, tzinfo=UTC) - timedelta(days=age_days)
    marks = {"kubeqpu.io/is-default-class": default} if default else {}
    metadata = api.ObjectMeta(name=name, annotations=marks, creation_timestamp=created)
    return api.QPUClass(metadata=metadata, spec=api.QPUClassSpec())


def test_the_newest_default_class_is_the_default() -> None:
    classes = Classes([make_class("old", "true", 2), make_class("new", "true", 1)])
    classes.put(make_class("newest", "false"))
    found = classes.find("")
    assert found is not None
    assert found.metadata.name == "new"
    classes.keep(["old", "newest"])
    assert classes.default_name() == "old"


def test_standard_is_there_always() -> None:
    found = Classes().find("")
    assert found is not None
    assert found.metadata.name == "standard"
    assert found.spec.admission is api.AdmissionMode.GATE
    assert Classes().find("fast") is None
