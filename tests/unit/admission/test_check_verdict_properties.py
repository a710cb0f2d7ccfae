"""Whatever a Workload looks like, a verdict is one that Kueue can take."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from kubeqpu.admission.checks.entries import write_entries
from kubeqpu.admission.checks.telemetry import REASONS
from kubeqpu.admission.checks.verdicts import Check, Scene, Verdict, decide
from kubeqpu.admission.checks.workloads import read_workload
from kubeqpu.common import api
from kubeqpu.common.placement import SimulatorPolicy
from tests.unit.admission.kueue_objects import (
    CPU,
    KEY,
    NOW,
    QPU,
    Object,
    entry,
    offer,
    pod_set,
    qpu_class,
    scene,
    workload,
)

AMOUNTS = st.sampled_from(["0", "1", "2", "500m", "-1", "x"])
WISHES = st.dictionaries(
    st.sampled_from(["kubeqpu.io/class", "kubeqpu.io/min-qubits", KEY, "other"]),
    st.sampled_from(["", "standard", "wide", "none", "free", "real", "1", "100", "-3", "?"]),
)
SETS = st.lists(
    st.builds(
        pod_set,
        st.sampled_from(["a", "b", "c"]),
        st.sampled_from([QPU, CPU, "kubeqpu.io/other", "cpu"]),
        WISHES,
        AMOUNTS,
    ),
    max_size=3,
    unique_by=lambda found: str(found["name"]),
)
ENTRIES = st.lists(
    st.builds(
        entry,
        st.sampled_from(["kubeqpu", "second", "other"]),
        st.sampled_from(["Pending", "Ready", "Retry", "Rejected", "New"]),
        retryCount=st.integers(0, 1000) | st.none(),
        podSetUpdates=st.just([{"name": "a", "annotations": {KEY: "x"}}]) | st.none(),
    ),
    min_size=1,
    unique_by=lambda found: str(found["name"]),
)
SCENES = st.builds(
    lambda offers, spent: scene(
        *offers,
        classes=(
            qpu_class("wide", 100),
            qpu_class("free", mode=api.AdmissionMode.NONE),
            qpu_class("real", simulators=SimulatorPolicy.FORBID),
        ),
        spent=spent,
    ),
    st.lists(
        st.builds(
            offer,
            st.sampled_from(["fez", "big"]),
            st.sampled_from([5, 156]),
            st.sampled_from([QPU, CPU]),
            st.booleans(),
        ),
        max_size=3,
    ),
    st.sampled_from(["", "", "all gone"]),
)
CHECKS = st.builds(
    Check, st.just("kubeqpu"), st.sampled_from(["", "wide"]), st.sampled_from(["", "", "broken"])
)


@given(ENTRIES, SETS, SCENES, CHECKS)
def test_a_verdict_is_always_one_that_kueue_can_take(
    entries: list[Object], pod_sets: list[Object], around: Scene, check: Check
) -> None:
    manifest = workload(*entries, pod_sets=pod_sets)
    before = repr(manifest)
    read = read_workload(manifest)
    ours = ("kubeqpu", "second")
    found = decide(read, check, ours, around)
    assert repr(manifest) == before
    known = {one["name"]: one for one in entries}.get("kubeqpu")
    if known is None or known["state"] not in ("Pending", "Ready"):
        assert found is None
        return
    if found is None:
        assert known["state"] == "Ready"
        return
    assert found.reason in REASONS[found.state]
    assert 0 < len(found.message) <= 1024
    assert (found.requeue_seconds is not None) == (found.state == "Retry")
    assert found.requeue_seconds is None or 15 <= found.requeue_seconds <= 600
    assert found.state == "Ready" or not found.notes
    names = {one["name"]: one for one in pod_sets}
    for name in found.notes:
        # Of a set of this Workload, and a key that nobody else has or adds.
        assert KEY not in (names[name]["template"].get("metadata") or {}).get("annotations", {})
        for other in entries:
            updates = other.get("podSetUpdates") or []
            assert other["name"] == "kubeqpu" or all(one["name"] != name for one in updates)
    check_written(entries, write_entries(read, {"kubeqpu": found}, ours, NOW), found)


def check_written(entries: list[Object], written: dict[str, Any], verdict: Verdict) -> None:
    """Only our entries are written, all of them, and what is not said anew stays as it is."""
    assert written["metadata"] == {
        "name": "w", "namespace": "lab", "uid": "uid-w", "resourceVersion": "7",
    }  # fmt: skip
    assert set(written) == {"apiVersion", "kind", "metadata", "status"}
    made = {one["name"]: one for one in written["status"]["admissionChecks"]}
    before = {one["name"]: one for one in entries if one["name"] != "other"}
    assert made.keys() == before.keys()
    assert made["kubeqpu"]["state"] == verdict.state
    assert made["kubeqpu"]["lastTransitionTime"] == "2026-11-23T12:00:00Z"
    assert made["kubeqpu"].get("requeueAfterSeconds") == verdict.requeue_seconds
    for name, one in made.items():
        assert "retryCount" not in one
        assert one["state"] == "Ready" or "podSetUpdates" not in one
        if name != "kubeqpu":
            for key in ("state", "message", "lastTransitionTime"):
                assert one[key] == before[name][key]
