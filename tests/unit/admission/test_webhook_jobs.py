"""What becomes of Jobs and JobSets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubeqpu.admission.outlooks import Outlook
from kubeqpu.admission.webhooks.jobs import mutate_job
from kubeqpu.common import api
from kubeqpu.common.placement import SimulatorPolicy
from kubeqpu.common.requests import PodRequest
from tests.unit.admission.webhook_objects import (
    GATED_BY,
    PODS,
    QUEUE,
    Object,
    apply_patch,
    around,
    container,
    job,
    jobset,
    outlook,
    pod,
)

LOOK = around().look
GATE = {
    "labels": {QUEUE: "team", "kubeqpu.io/gated": "true"},
    "annotations": {GATED_BY: "kubeqpu.io/qpu"},
}


@pytest.mark.parametrize("made", [job(labels={QUEUE: "team"}),
                                  jobset(pod(container()), pod(), labels={QUEUE: "team"})],
                         ids=["Job", "JobSet"])  # fmt: skip
def test_what_kueue_admits_waits_on_the_object_that_it_reads(made: Object) -> None:
    verdict = mutate_job(made, LOOK)
    patched = apply_patch(made, verdict.operations)
    assert patched["metadata"] == {"name": made["metadata"]["name"], **GATE}
    assert patched["spec"] == made["spec"]
    assert verdict.gated == "kueue"
    assert mutate_job(patched, LOOK).operations == ()


def test_what_kueue_does_not_admit_waits_pod_by_pod() -> None:
    verdict = mutate_job(job(), LOOK)
    assert (verdict.operations, verdict.gated) == ((), "")


def test_a_jobset_waits_if_one_of_its_classes_wants_it() -> None:
    def look(request: PodRequest) -> Outlook:
        gated = request.class_name == "gated"
        return outlook(api.AdmissionMode.GATE if gated else api.AdmissionMode.NONE)

    plain = pod()
    gated = pod(annotations={"kubeqpu.io/class": "gated"})
    assert mutate_job(jobset(plain, plain, labels={QUEUE: "team"}), look).gated == ""
    assert mutate_job(jobset(plain, gated, labels={QUEUE: "team"}), look).gated == "kueue"


def test_a_class_that_can_never_serve_it_is_refused_with_the_template() -> None:
    forbids = Outlook("real", simulators=SimulatorPolicy.FORBID)
    refusal = mutate_job(job(pod(container(cpu_simulator="1"))), lambda _: forbids).refusal
    assert refusal.startswith("spec.template: resource kubeqpu.io/cpu-simulator")


def test_annotations_at_the_wrong_place_are_told() -> None:
    made = job(annotations={"kubeqpu.io/class": "fast"})
    (warning,) = mutate_job(made, LOOK).warnings
    assert "kubeqpu.io/class" in warning
    assert "spec.template.metadata" in warning


@given(st.lists(PODS, min_size=1, max_size=3), st.sampled_from(api.AdmissionMode))
def test_any_jobset_is_changed_in_its_metadata_and_once_only(
    pods: list[Object], mode: api.AdmissionMode
) -> None:
    made = jobset(*pods, labels={QUEUE: "team"})
    verdict = mutate_job(made, lambda _: outlook(mode))
    assert verdict.refusal == ""
    patched = apply_patch(made, verdict.operations)
    assert patched["spec"] == made["spec"]
    assert mutate_job(patched, lambda _: outlook(mode)).operations == ()
