"""What the scheduler sends, read; what it does not send, refused in a sentence."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubeqpu.common.placement import CircuitShape
from kubeqpu.scheduler_extender import wire
from kubeqpu.scheduler_extender.errors import MalformedRequestError
from kubeqpu.scheduler_extender.questions import Demand, Question, read_questions
from tests.support.extender_objects import args, pod_object, preempt_args

QPU, CPU = "kubeqpu.io/qpu", "kubeqpu.io/cpu-simulator"

json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


def test_a_request_is_read_as_the_scheduler_sends_it() -> None:
    pod = pod_object("bell", {"kubeqpu.io/class": "precise"})
    found = wire.parse_request(args(pod, ["n-1", "knöten"]))
    assert found.nodes == ["n-1", "knöten"]
    assert found.pod.reference == "lab/bell"
    assert (found.pod.uid, found.pod.resources) == ("uid-bell", (QPU,))
    assert found.pod.annotations == {"kubeqpu.io/class": "precise"}
    assert wire.parse_request(args(pod, None)).nodes == []
    assert set(wire.parse_preempt(preempt_args(pod, ["n-1"])).victims) == {"n-1"}


def test_resources_of_all_containers_count() -> None:
    pod = pod_object(resources={"cpu": "1"})
    pod["spec"]["initContainers"] = [{"name": "i", "resources": {"requests": {CPU: 2}}}]
    pod["spec"]["containers"].append({"name": "c", "resources": {"limits": {QPU: "0"}}})
    assert wire.parse_request(args(pod, [])).pod.resources == (CPU,)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "no JSON"),
        (b"{", "no JSON"),
        (b'{"Pod":{"metadata":{"name":"\\ud800"}}}', "no JSON"),
        (b"\xff\xfe", "no JSON"),
        (b"[]", "type list"),
        (b"{}", "Pod is missing"),
        (b'{"Pod":"bell"}', "Pod is missing"),
        (b'{"Pod":{"metadata":[]},"NodeNames":[]}', "metadata is no object"),
        (b'{"Pod":{},"NodeNames":["a",1]}', "no list of names"),
        (b'{"Pod":{},"NodeNames":"a"}', "no list of names"),
        (b'{"Pod":{},"NodeNames":null,"Nodes":{"items":[]}}', "nodeCacheCapable: true"),
    ],
)
def test_what_makes_no_sense_is_told(body: bytes, words: str) -> None:
    with pytest.raises(MalformedRequestError, match=words):
        wire.parse_request(body)


def test_preempt_tells_as_well() -> None:
    with pytest.raises(MalformedRequestError, match="nodeCacheCapable: true"):
        wire.parse_preempt(b'{"Pod":{},"NodeNameToVictims":{"n-1":{}}}')
    with pytest.raises(MalformedRequestError, match="no object"):
        wire.parse_preempt(b'{"Pod":{},"NodeNameToMetaVictims":[]}')


@given(json_values, json_values, json_values)
def test_no_json_is_a_surprise(pod: Any, metadata: Any, spec: Any) -> None:
    whole = {"metadata": metadata, "spec": spec}
    for content in (pod, {"Pod": pod}, {"Pod": whole}, {"Pod": whole, "NodeNames": pod}):
        body = json.dumps(content).encode()
        for parse in (wire.parse_request, wire.parse_preempt):
            with contextlib.suppress(MalformedRequestError):
                assert parse(body) is not None


def test_annotations_make_the_question() -> None:
    annotations = {
        "kubeqpu.io/class": " precise ",
        "kubeqpu.io/min-qubits": "20",
        "kubeqpu.io/circuit-shape": "120,20",
    }
    found = read_questions((QPU, CPU), annotations)
    shape = CircuitShape(120, 20)
    assert found.questions == tuple(
        Question(Demand(resource, "precise", 20), shape) for resource in (CPU, QPU)
    )
    assert read_questions((QPU,), {}).questions == (Question(Demand(QPU)),)
    assert read_questions((), annotations).questions == ()


def test_an_endless_annotation_is_refused_in_a_short_sentence() -> None:
    for key in ("class", "min-qubits", "circuit-shape"):
        refusal = read_questions((QPU,), {f"kubeqpu.io/{key}": "9" * 100_000}).refusal
        assert f"kubeqpu.io/{key}" in refusal
        assert len(refusal) < 300
