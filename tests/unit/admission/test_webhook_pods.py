"""What becomes of pods: by example, and for any pod."""

import copy
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubeqpu.admission.outlooks import Ground, Outlook
from kubeqpu.admission.webhooks.pods import mutate_pod
from kubeqpu.common import api
from kubeqpu.common.placement import SimulatorPolicy
from tests.unit.admission.webhook_objects import (
    AUTHORITY,
    CPU,
    FOLDER,
    GATED_BY,
    PODS,
    QPU,
    QUEUE,
    Object,
    around,
    container,
    mutate,
    outlook,
    pod,
)

MODES = st.sampled_from(api.AdmissionMode)
MOUNT = {"name": "kubeqpu-credentials", "mountPath": FOLDER, "readOnly": True}
VOLUME = {
    "name": "kubeqpu-credentials",
    "projected": {
        "sources": [
            {
                "serviceAccountToken": {
                    "audience": "kubeqpu.io/gateway",
                    "expirationSeconds": 3600,
                    "path": "token",
                }
            },
            {
                "downwardAPI": {
                    "items": [
                        {
                            "path": "ca.crt",
                            "fieldRef": {
                                "apiVersion": "v1",
                                "fieldPath": "metadata.annotations['kubeqpu.io/ca']",
                            },
                        }
                    ]
                }
            },
        ],
        "defaultMode": 420,
    },
}


class TestAPodThatAsksForASlot:
    def test_is_scheduled_by_us_where_slots_are_with_credentials_behind_a_gate(self) -> None:
        asked = pod(container("a", qpu="1"), container("b"))
        made, verdict = mutate(asked)
        mounted = [{**one, "volumeMounts": [MOUNT]} for one in asked["spec"]["containers"]]
        assert made["spec"] == {
            "containers": mounted,
            "volumes": [VOLUME],
            "schedulerName": "kubeqpu-scheduler",
            "nodeSelector": {"slots.kubeqpu.io/qpu": "true"},
            "schedulingGates": [{"name": "kubeqpu.io/qpu"}],
        }
        assert made["metadata"] == {
            "name": "p",
            "labels": {"kubeqpu.io/managed": "true", "kubeqpu.io/gated": "true"},
            "annotations": {"kubeqpu.io/ca": AUTHORITY},
        }
        assert (verdict.gated, verdict.warnings) == ("scheduler", ())

    def test_waits_at_kueue_if_it_has_a_queue(self) -> None:
        annotations = {GATED_BY: "example.com/other"}
        made, verdict = mutate(pod(labels={QUEUE: "team"}, annotations=annotations))
        assert made["metadata"]["annotations"][GATED_BY] == "example.com/other,kubeqpu.io/qpu"
        assert made["metadata"]["labels"]["kubeqpu.io/gated"] == "true"
        assert "schedulingGates" not in made["spec"]
        assert verdict.gated == "kueue"

    @pytest.mark.parametrize("others", [[], [{"name": "kueue.x-k8s.io/admission"}]])
    def test_moves_to_kueues_gate_when_another_webhook_gives_it_a_queue(
        self, others: list[Object]
    ) -> None:
        first, _ = mutate(pod())
        first["metadata"]["labels"][QUEUE] = "default"
        first["spec"]["schedulingGates"] += others
        second, verdict = mutate(first)
        assert second["metadata"]["annotations"][GATED_BY] == "kubeqpu.io/qpu"
        assert second["spec"].get("schedulingGates", []) == others
        assert second["metadata"]["labels"]["kubeqpu.io/gated"] == "true"
        assert verdict.gated == "kueue"

    def test_has_no_gate_where_kueue_admitted_its_job_or_a_node_is_named(self) -> None:
        admitted = pod(labels={"kueue.x-k8s.io/podset": "main", QUEUE: "team"})
        bound = pod()
        bound["spec"]["nodeName"] = "node-1"
        for asked in (admitted, bound):
            made, verdict = mutate(asked)
            assert "schedulingGates" not in made["spec"]
            assert GATED_BY not in made["metadata"]["annotations"]
            assert "kubeqpu.io/gated" not in made["metadata"]["labels"]
            assert verdict.gated == ""

    @pytest.mark.parametrize("mode", [api.AdmissionMode.CHECK, api.AdmissionMode.NONE])
    def test_has_no_gate_where_its_class_wants_none(self, mode: api.AdmissionMode) -> None:
        for labels in ({}, {QUEUE: "team"}):
            made, _ = mutate(pod(labels=labels), around(outlook(mode)))
            assert "schedulingGates" not in made["spec"]
            assert GATED_BY not in made["metadata"]["annotations"]

    def test_is_found_by_its_gate_whoever_set_it(self) -> None:
        copied = pod()
        copied["spec"]["schedulingGates"] = [{"name": "kubeqpu.io/qpu"}]
        for asked in (copied, pod(annotations={GATED_BY: "kubeqpu.io/qpu"})):
            made, _ = mutate(asked, around(outlook(api.AdmissionMode.NONE)))
            assert made["metadata"]["labels"]["kubeqpu.io/gated"] == "true"

    def test_keeps_a_scheduler_of_its_own(self) -> None:
        asked = pod()
        asked["spec"]["schedulerName"] = "mine"
        assert mutate(asked)[0]["spec"]["schedulerName"] == "mine"
        asked["spec"]["schedulerName"] = "default-scheduler"
        assert mutate(asked)[0]["spec"]["schedulerName"] == "kubeqpu-scheduler"
        left = mutate(asked, around(scheduler=""))[0]
        assert left["spec"]["schedulerName"] == "default-scheduler"

    def test_is_warned_and_gated_not_refused_for_what_may_become_possible(self) -> None:
        expected = Outlook(grounds=(Ground("NoQPU", "No QPU fits now."),))
        _, verdict = mutate(pod(), around(expected))
        assert verdict.warnings == ("No QPU fits now.",)
        assert verdict.gated == "scheduler"

    def test_is_refused_if_its_class_can_never_serve_it_unless_a_job_made_it(self) -> None:

        forbids = around(Outlook("real", simulators=SimulatorPolicy.FORBID))
        asked = pod(container(cpu_simulator="1"))
        refusal = mutate_pod(asked, forbids).refusal
        assert CPU in refusal
        assert "QPUClass real forbids" in refusal
        asked["metadata"]["ownerReferences"] = [{"kind": "Job", "controller": True}]
        _, verdict = mutate(asked, forbids)
        assert verdict.gated == "scheduler"
        assert "forbids" in verdict.warnings[0]


class TestCredentials:
    def test_pods_that_are_clients_get_them_and_nothing_else(self) -> None:
        made, verdict = mutate(pod(container("plan"), labels={"kubeqpu.io/client": "true"}))
        assert set(made["spec"]) == {"containers", "volumes"}
        assert made["spec"]["containers"][0]["volumeMounts"] == [MOUNT]
        assert verdict.gated == ""

    def test_init_containers_and_sidecars_have_them_too(self) -> None:
        asked = pod(container("main"))
        sidecar = {**container("proxy"), "restartPolicy": "Always"}
        asked["spec"]["initContainers"] = [container("init", qpu="1"), sidecar]
        made, _ = mutate(asked)
        for found in made["spec"]["containers"] + made["spec"]["initContainers"]:
            assert found["volumeMounts"] == [MOUNT]

    @pytest.mark.parametrize("path", [FOLDER, f"{FOLDER}/", f"{FOLDER}/token",
                                      "/run/secrets/kubeqpu.io"])  # fmt: skip
    def test_what_is_mounted_there_by_hand_is_left_alone(self, path: str) -> None:
        own = [{"name": "mine", "mountPath": path}]
        by_hand = {**container("a", qpu="1"), "volumeMounts": own}
        made, _ = mutate(pod(by_hand, container("b")))
        assert made["spec"]["containers"][0]["volumeMounts"] == own
        assert made["spec"]["containers"][1]["volumeMounts"] == [MOUNT]
        alone, _ = mutate(pod(by_hand))
        assert "volumes" not in alone["spec"]
        assert "kubeqpu.io/ca" not in alone["metadata"].get("annotations", {})

    def test_a_volume_of_the_same_name_stays_what_it_is(self) -> None:
        asked = pod()
        asked["spec"]["volumes"] = [{"name": "kubeqpu-credentials", "emptyDir": {}}]
        made, _ = mutate(asked)
        assert [one["name"] for one in made["spec"]["volumes"]] == [
            "kubeqpu-credentials",
            "kubeqpu-credentials-2",
        ]
        assert made["spec"]["containers"][0]["volumeMounts"] == [
            {**MOUNT, "name": "kubeqpu-credentials-2"}
        ]

    def test_a_mount_of_a_missing_volume_does_not_get_ours(self) -> None:
        broken = {**container("a"), "volumeMounts": [{**MOUNT, "mountPath": "/data"}]}
        made, _ = mutate(pod(broken, container("b", qpu="1")))
        assert [one["name"] for one in made["spec"]["volumes"]] == ["kubeqpu-credentials-2"]

    def test_a_container_that_another_webhook_adds_gets_the_same_volume(self) -> None:
        made, _ = mutate(pod())
        made["spec"]["containers"].append(container("injected"))
        again, _ = mutate(made)
        assert again["spec"]["containers"][1]["volumeMounts"] == [MOUNT]
        assert again["spec"]["volumes"] == [VOLUME]

    def test_an_authority_that_came_with_a_copied_pod_is_replaced(self) -> None:
        made, _ = mutate(pod())
        made["metadata"]["annotations"]["kubeqpu.io/ca"] = "old"
        again, _ = mutate(made)
        assert again["metadata"]["annotations"]["kubeqpu.io/ca"] == AUTHORITY

    def test_without_an_authority_there_is_a_token_alone(self) -> None:
        made, _ = mutate(pod(), around(authority=""))
        (volume,) = made["spec"]["volumes"]
        assert volume["projected"]["sources"] == VOLUME["projected"]["sources"][:1]  # type: ignore[index]
        assert "annotations" not in made["metadata"]


class TestAnyPod:
    @settings(max_examples=300)
    @given(PODS, MODES)
    def test_a_second_pass_changes_nothing(self, asked: Object, mode: api.AdmissionMode) -> None:
        before = copy.deepcopy(asked)
        made, _ = mutate(asked, around(outlook(mode)))
        assert asked == before
        again, verdict = mutate(made, around(outlook(mode)))
        assert verdict.operations == ()
        assert again == made

    @settings(max_examples=300)
    @given(PODS, MODES)
    def test_a_queue_given_later_leads_where_one_given_at_once_does(
        self, asked: Object, mode: api.AdmissionMode
    ) -> None:
        late, _ = mutate(asked, around(outlook(mode)))
        for one in (late, asked):
            one["metadata"]["labels"] = {**(one["metadata"].get("labels") or {}), QUEUE: "q"}
        late, _ = mutate(late, around(outlook(mode)))
        early, _ = mutate(asked, around(outlook(mode)))
        asks = _asks(asked)
        gated = mode is api.AdmissionMode.GATE and asks
        for one in (late, early) if gated else ():
            assert "kubeqpu.io/qpu" in one["metadata"]["annotations"][GATED_BY].split(",")
            assert {"name": "kubeqpu.io/qpu"} not in (one["spec"].get("schedulingGates") or [])

    @settings(max_examples=300)
    @given(PODS, MODES)
    def test_nothing_is_touched_that_is_not_ours(
        self, asked: Object, mode: api.AdmissionMode
    ) -> None:
        made, _ = mutate(asked, around(outlook(mode)))
        assert _foreign(made) == _foreign(asked)
        if not _asks(asked) and _labels(asked).get("kubeqpu.io/client") != "true":
            assert made == asked


def _asks(asked: Object) -> bool:
    spec = asked["spec"]
    containers = itertools.chain(spec["containers"], spec.get("initContainers") or [])
    return any(QPU in ((one.get("resources") or {}).get("limits") or {}) for one in containers)


def _labels(asked: Object) -> Object:
    labels: Object = asked["metadata"].get("labels") or {}
    return labels


def _foreign(found: Object) -> Object:
    """What is left of a pod without what the webhook may write."""
    left = copy.deepcopy(found)
    metadata, spec = left["metadata"], left["spec"]
    metadata["labels"] = {
        key: value
        for key, value in _labels(left).items()
        if key not in {"kubeqpu.io/managed", "kubeqpu.io/gated"}
    }
    metadata["annotations"] = {
        key: value
        for key, value in (metadata.get("annotations") or {}).items()
        if key not in {GATED_BY, "kubeqpu.io/ca"}
    }
    spec["nodeSelector"] = {
        key: value
        for key, value in (spec.get("nodeSelector") or {}).items()
        if key != "slots.kubeqpu.io/qpu"
    }
    if spec.get("schedulerName") in (None, "default-scheduler", "kubeqpu-scheduler"):
        spec["schedulerName"] = ""
    spec["schedulingGates"] = [
        gate for gate in spec.get("schedulingGates") or [] if gate["name"] != "kubeqpu.io/qpu"
    ]
    ours = [one["name"] for one in spec.get("volumes") or [] if "defaultMode" in str(one)]
    assert len(ours) <= 1
    spec["volumes"] = [one for one in spec.get("volumes") or [] if one["name"] not in ours]
    for one in itertools.chain(spec["containers"], spec.get("initContainers") or []):
        one["volumeMounts"] = [
            mount for mount in one.get("volumeMounts") or [] if mount["name"] not in ours
        ]
    return left
