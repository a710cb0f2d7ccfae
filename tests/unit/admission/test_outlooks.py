"""What a request can expect of the cluster, and how it is told."""

import pytest

from kubeqpu.admission.outlooks import Offer, look
from kubeqpu.common import api, qpu
from kubeqpu.common.classes import Classes
from kubeqpu.common.placement import SimulatorPolicy
from kubeqpu.common.requests import PodRequest
from tests.unit.admission.webhook_objects import CPU, NOW, QPU

TRUE = qpu.ConditionStatus.TRUE
READY = {kind: qpu.Condition(kind, TRUE) for kind in ("Ready", "Accepting")}


def offer(name: str, qubits: int = 27, *, ready: bool = True, resource: str = QPU) -> Offer:
    conditions = READY if ready else {}
    return Offer(resource, qpu.QPU(name, "fake", False, qubits, conditions))


def make_class(name: str, admission: api.AdmissionMode, default: str = "false") -> api.QPUClass:
    wanted = api.RequirementsSpec(simulators=SimulatorPolicy.FORBID)
    return api.QPUClass(
        metadata=api.ObjectMeta(name=name, annotations={"kubeqpu.io/is-default-class": default}),
        spec=api.QPUClassSpec(requirements=wanted, admission=admission),
    )


def test_a_class_says_how_its_pods_wait() -> None:
    classes = Classes([make_class("fast", api.AdmissionMode.CHECK, "true")])
    for name in ("fast", ""):
        found = look(PodRequest((QPU,), name), classes, [offer("fez")], NOW)
        assert found.class_name == "fast"
        assert found.mode is api.AdmissionMode.CHECK
        assert found.simulators is SimulatorPolicy.FORBID
        assert found.warnings == ()


def test_an_unknown_class_waits_at_a_gate_with_a_warning() -> None:
    found = look(PodRequest((QPU,), "fast"), Classes(), [offer("fez")], NOW)
    assert found.mode is api.AdmissionMode.GATE
    (warning,) = found.warnings
    assert "no QPUClass fast" in warning
    assert "kubectl get qpuclasses" in warning


@pytest.mark.parametrize(
    ("offers", "words"),
    [
        ([], [f"No QPU offers {QPU}"]),
        ([offer("aer", resource=CPU)], [f"No QPU offers {QPU}"]),
        ([offer("fez"), offer("old", ready=False)],
         ["TooFewQubits 1", "NotReady 1", "QPU fez: 27"]),
    ],
)  # fmt: skip
def test_that_nothing_fits_is_told_with_the_reasons(offers: list[Offer], words: list[str]) -> None:
    found = look(PodRequest((QPU,), min_qubits=100), Classes(), offers, NOW)
    (warning,) = found.warnings
    for word in words:
        assert word in warning


def test_one_qpu_that_fits_is_enough() -> None:
    offers = [offer("small", 5), offer("large", 200)]
    assert look(PodRequest((QPU,), min_qubits=100), Classes(), offers, NOW).warnings == ()
