"""What is refused, in which words; and what is not."""

from typing import Any

import pytest

from kubeqpu.admission.webhooks.jobs import mutate_job
from kubeqpu.admission.webhooks.pods import mutate_pod
from tests.unit.admission.webhook_objects import (
    CPU,
    QPU,
    Object,
    around,
    container,
    job,
    jobset,
    mutate,
    pod,
)


def resources(**parts: Any) -> Object:
    return pod({"name": "main", "image": "i", "resources": parts})


def annotated(**wishes: str) -> Object:
    names = {f"kubeqpu.io/{key.replace('_', '-')}": value for key, value in wishes.items()}
    return pod(annotations=names)


def selecting(**labels: str) -> Object:
    made = pod()
    made["spec"]["nodeSelector"] = {"slots.kubeqpu.io/qpu": labels["qpu"]}
    return made


LIMIT = f"containers[0].resources.limits[{QPU}]"
REQUEST = f"requests[{QPU}] is 1"
REFUSED = [
    (annotated(min_qubits="ten"), ["annotations[kubeqpu.io/min-qubits]", "'ten'", "whole number"]),
    (annotated(min_qubits="0"), ["annotations[kubeqpu.io/min-qubits]", "'0'", "whole number"]),
    (annotated(circuit_shape="50"), ["annotations[kubeqpu.io/circuit-shape]", "'50'", "50,10"]),
    (annotated(**{"class": "Fast!"}), ["annotations[kubeqpu.io/class]", "'Fast!'", "get qpucl"]),
    (annotated(**{"class": "a" * 64}), ["annotations[kubeqpu.io/class]", "at most 63"]),
    (resources(limits={QPU: "0.5"}), [LIMIT, "0.5", "such as 1"]),
    (resources(limits={QPU: "-1"}), [LIMIT, "-1", "such as 1"]),
    (resources(limits={QPU: "one"}), [LIMIT, "'one'"]),
    (resources(requests={QPU: "1"}), [REQUEST, "without a limit", "set limits"]),
    (resources(requests={QPU: "1"}, limits={QPU: "2"}), [REQUEST, "is 2", "the same"]),
    (resources(limits={QPU: "1", CPU: "1"}), [QPU, CPU, "a container of its own"]),
    (resources(limits={"kubeqpu.io/qpus": "1"}), ["io/qpus", f"expected one of {QPU},"]),
    (selecting(qpu="false"), ["nodeSelector[slots.kubeqpu.io/qpu]", "'false'", "remove it"]),
]  # fmt: skip


@pytest.mark.parametrize(("asked", "words"), REFUSED, ids=[words[0] for _, words in REFUSED])
def test_what_makes_no_sense_is_refused_in_words(asked: Object, words: list[str]) -> None:
    template = {key: asked[key] for key in ("metadata", "spec")}
    for refusal, path in (
        (mutate_pod(asked, around()).refusal, ""),
        (mutate_job(job(template), around().look).refusal, "spec.template."),
        (mutate_job(jobset(pod(), template), around().look).refusal,
         "spec.replicatedJobs[1].template.spec.template."),
    ):  # fmt: skip
        assert refusal.startswith(path)
        for word in words:
            assert word in refusal


def test_all_faults_are_told_at_once() -> None:
    asked = annotated(min_qubits="x", circuit_shape="y")
    refusal = mutate_pod(asked, around()).refusal
    assert "min-qubits" in refusal
    assert "circuit-shape" in refusal


@pytest.mark.parametrize("amount", ["1", 1, "1000m", "1k", "2e0", "1.0"])
def test_whole_amounts_in_any_form_are_taken(amount: object) -> None:
    made, _ = mutate(resources(limits={QPU: amount}, requests={QPU: amount}))
    assert made["spec"]["nodeSelector"] == {"slots.kubeqpu.io/qpu": "true"}


@pytest.mark.parametrize("amount", ["0", 0, "0m"])
def test_none_is_not_asked_for(amount: object) -> None:
    assert mutate(resources(limits={QPU: amount}))[1].operations == ()


def test_a_slot_in_each_of_two_containers_is_taken() -> None:
    made, _ = mutate(pod(container("a", qpu="1"), container("b", cpu_simulator="2")))
    assert made["spec"]["nodeSelector"] == {
        "slots.kubeqpu.io/qpu": "true",
        "slots.kubeqpu.io/cpu-simulator": "true",
    }


def test_pods_that_run_already_from_a_file_of_their_node_are_left_alone() -> None:
    asked = pod(annotations={"kubernetes.io/config.mirror": "x"})
    assert mutate(asked)[1].operations == ()
