"""What the AdmissionCheck says of Workloads, and what it never says."""

import dataclasses

import pytest

from kubeqpu.admission.checks.verdicts import Check, Scene, Verdict, choose_requeue_seconds, decide
from kubeqpu.admission.checks.workloads import dress, is_open, read_workload
from kubeqpu.common import api
from kubeqpu.common.placement import SimulatorPolicy
from tests.unit.admission.kueue_objects import (
    CPU,
    KEY,
    QPU,
    THEN,
    Object,
    entry,
    offer,
    pod_set,
    qpu_class,
    scene,
    workload,
)

OURS = Check("kubeqpu")


def said(manifest: Object, scene: Scene, check: Check = OURS, *others: str) -> Verdict | None:
    return decide(read_workload(manifest), check, (check.name, *others), scene)


def must(manifest: Object, scene: Scene, check: Check = OURS, *others: str) -> Verdict:
    found = said(manifest, scene, check, *others)
    assert found is not None
    return found


class TestStates:
    def test_ready_names_the_qpu_and_notes_it_on_the_pods(self) -> None:
        found = must(workload(), scene(offer("old", ready=False), offer("fez")))
        assert (found.state, found.reason) == ("Ready", "Fits")
        assert found.message == f"QPU fez with {QPU} fits class standard."
        assert found.notes == {"main": found.message}
        assert found.requeue_seconds is None

    def test_that_nothing_fits_is_a_retry_with_the_reason(self) -> None:
        wide = pod_set(annotations={"kubeqpu.io/min-qubits": "100"})
        found = must(workload(pod_sets=[wide]), scene(offer("fez")))
        assert (found.state, found.reason) == ("Retry", "TooFewQubits")
        assert "QPU fez: 27 qubits below the 100 needed" in found.message
        assert found.requeue_seconds == 15

    def test_what_may_be_made_later_is_never_rejected(self) -> None:
        unknown = pod_set(annotations={"kubeqpu.io/class": "fast"})
        assert must(workload(pod_sets=[unknown]), scene(offer())).reason == "UnknownClass"
        assert must(workload(), scene()).reason == "NoQPU"
        assert must(workload(), scene(offer(), spent="all gone")).reason == "BudgetSpent"
        broken = Check("kubeqpu", "fast", "class fast does not exist")
        found = must(workload(), scene(offer()), broken)
        assert (found.state, found.message) == ("Retry", "class fast does not exist")

    @pytest.mark.parametrize(
        ("annotations", "resource", "amount", "words"),
        [
            ({"kubeqpu.io/min-qubits": "many"}, QPU, "1", "kubeqpu.io/min-qubits]: 'many'"),
            ({"kubeqpu.io/class": "No Name"}, QPU, "1", "'No Name' is no name"),
            ({}, QPU, "500m", "slots are whole"),
            ({}, "kubeqpu.io/qpus", "1", "asks for kubeqpu.io/qpus; expected one of"),
        ],
    )
    def test_what_makes_no_sense_is_rejected(
        self, annotations: dict[str, str], resource: str, amount: str, words: str
    ) -> None:
        asked = [pod_set("main", resource, annotations, amount)]
        found = must(workload(pod_sets=asked), scene(offer()))
        assert (found.state, found.reason) == ("Rejected", "Malformed")
        assert words in found.message
        assert found.requeue_seconds is None

    def test_a_simulator_of_a_class_that_forbids_them_is_rejected(self) -> None:
        real = qpu_class("real", simulators=SimulatorPolicy.FORBID)
        asked = [pod_set(resource=CPU, annotations={"kubeqpu.io/class": "real"})]
        found = must(workload(pod_sets=asked), scene(offer(resource=CPU), classes=(real,)))
        assert (found.state, found.reason) == ("Rejected", "Contradiction")
        assert found.message.startswith(f"Resource {CPU} is offered by simulators")

    def test_of_several_pod_sets_the_worst_counts(self) -> None:
        sets = [pod_set("a"), pod_set("b", annotations={"kubeqpu.io/min-qubits": "100"})]
        assert must(workload(pod_sets=sets), scene(offer())).state == "Retry"
        sets.append(pod_set("c", annotations={"kubeqpu.io/min-qubits": "0"}))
        found = must(workload(pod_sets=sets), scene(offer()))
        assert found.state == "Rejected"
        assert found.message.startswith("Pod set c: metadata.annotations")

    def test_pods_that_ask_for_nothing_are_let_go_on(self) -> None:
        asked = [pod_set(resource="cpu"), pod_set("none", amount="0")]
        found = must(workload(pod_sets=asked), scene())
        assert (found.state, found.reason, found.notes) == ("Ready", "NothingAsked", {})

    def test_a_class_without_admission_lets_its_pods_go_on(self) -> None:
        free = qpu_class("free", min_qubits=1000, mode=api.AdmissionMode.NONE)
        asked = [pod_set(annotations={"kubeqpu.io/class": "free"})]
        found = must(workload(pod_sets=asked), scene(classes=(free,), spent="all gone"))
        assert (found.state, found.reason) == ("Ready", "NoWaiting")


class TestParameters:
    def test_the_class_of_the_check_holds_beside_the_pods_own(self) -> None:
        wide = qpu_class("wide", 100)
        queue = Check("kubeqpu", "wide")
        small = scene(offer("fez"), classes=(wide,))
        assert must(workload(), small).state == "Ready"
        found = must(workload(), small, queue)
        assert (found.state, found.reason) == ("Retry", "TooFewQubits")
        found = must(workload(), scene(offer("fez"), offer("big", 156), classes=(wide,)), queue)
        assert found.message == f"QPU big with {QPU} fits classes standard and wide."

    def test_two_classes_need_one_qpu_that_fits_both(self) -> None:
        classes = (qpu_class("a", site="a"), qpu_class("b", site="b"))
        a, b = offer("one"), offer("two")
        offers = [dataclasses.replace(found, qpu=dataclasses.replace(
            found.qpu, labels={"site": site})) for found, site in ((a, "a"), (b, "b"))]  # fmt: skip
        asked = [pod_set(annotations={"kubeqpu.io/class": "a"})]
        found = must(
            workload(pod_sets=asked), scene(*offers, classes=classes), Check("kubeqpu", "b")
        )
        assert (found.state, found.reason) == ("Retry", "NoCommonQPU")
        assert "classes a and b" in found.message


class TestPods:
    def test_wishes_come_from_the_pods_and_every_one_counts(self) -> None:
        plain = read_workload(workload())
        pods = [{"kubeqpu.io/class": "standard"}, {"kubeqpu.io/min-qubits": "100"}]
        asked = dress(plain, pods)
        found = decide(asked, OURS, ["kubeqpu"], scene(offer()))
        assert found is not None
        assert found.reason == "TooFewQubits"

    def test_pods_of_a_group_belong_to_the_set_of_their_role(self) -> None:
        plain = read_workload(workload(pod_sets=[pod_set("r1"), pod_set("r2")]))
        role = "kueue.x-k8s.io/role-hash"
        pods = [{role: "r1"}, {role: "r2", "kubeqpu.io/min-qubits": "100"}]
        one, two = dress(plain, pods).pod_sets
        assert [dict(template.annotations) for template in one.templates] == [{}]
        assert [dict(template.annotations) for template in two.templates] == [
            {"kubeqpu.io/min-qubits": "100"}
        ]


class TestNotes:
    def test_an_annotation_that_is_there_already_is_left_alone(self) -> None:
        asked = [pod_set("a", annotations={KEY: "own"}), pod_set("b"), pod_set("c")]
        other = entry("other", "Ready", podSetUpdates=[{"name": "b", "annotations": {KEY: "x"}}])
        found = must(workload(entry(), other, pod_sets=asked), scene(offer()))
        assert set(found.notes) == {"c"}

    def test_of_two_checks_of_ours_one_notes_the_reason(self) -> None:
        manifest = workload(entry("first"), entry("second"))
        for name, noted in (("first", {"main"}), ("second", set())):
            other = {"first": "second", "second": "first"}[name]
            found = must(manifest, scene(offer()), Check(name), other)
            assert set(found.notes) == noted


class TestWhen:
    @pytest.mark.parametrize(
        ("conditions", "opened"),
        [
            (("QuotaReserved",), True),
            ((), False),
            (("Admitted",), False),
            *((("QuotaReserved", other), False)
              for other in ("Admitted", "Evicted", "Finished", "DeactivationTarget")),
        ],
    )  # fmt: skip
    def test_only_between_quota_and_admission(
        self, conditions: tuple[str, ...], opened: bool
    ) -> None:
        assert is_open(workload(conditions=conditions)) is opened

    def test_not_of_what_ends_or_is_stopped(self) -> None:
        assert not is_open(workload(deletionTimestamp=THEN))
        stopped = workload()
        stopped["spec"]["active"] = False
        assert not is_open(stopped)
        lost = workload()
        lost["status"]["conditions"][0]["status"] = "False"
        assert not is_open(lost)

    @pytest.mark.parametrize("state", ["Retry", "Rejected", "Paused"])
    def test_nothing_while_it_is_kueues_turn(self, state: str) -> None:
        assert said(workload(entry(state=state)), scene(offer())) is None
        assert said(workload(entry("other")), scene(offer())) is None

    def test_a_ready_is_taken_back_while_nothing_runs(self) -> None:
        ready = workload(entry(state="Ready"))
        assert said(ready, scene(offer())) is None
        assert must(ready, scene()).state == "Retry"


class TestBackoff:
    def test_it_doubles_from_fifteen_seconds_to_ten_minutes(self) -> None:
        seconds = [choose_requeue_seconds(retries) for retries in range(8)]
        assert seconds == [15, 30, 60, 120, 240, 480, 600, 600]

    def test_kueues_own_count_is_what_counts(self) -> None:
        counted = workload(entry(retryCount=3))
        assert must(counted, scene()).requeue_seconds == 120
        counted["status"]["requeueState"] = {"count": 5}
        assert must(counted, scene()).requeue_seconds == 480
