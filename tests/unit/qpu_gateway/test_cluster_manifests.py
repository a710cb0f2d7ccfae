"""The QPU object as its gateway wants it, and whose it is."""

from datetime import UTC, datetime, timedelta

import pytest

from kubeqpu.common import api
from kubeqpu.common.qpu import ConditionStatus
from kubeqpu.qpu_gateway.cluster.leases import make_lease, read_holder
from kubeqpu.qpu_gateway.cluster.manifests import (
    Holder,
    Owner,
    find_conflicts,
    find_rival,
    is_current,
    make_manifest,
    make_spec,
)
from kubeqpu.qpu_gateway.providers.aer import AerProvider
from kubeqpu.qpu_gateway.providers.base import Provider, QPUSettings
from kubeqpu.qpu_gateway.settings import ConfigurationError
from kubeqpu.qpu_gateway.workers import WorkerLimits, WorkerPool
from tests.integration.gateway_support import CoinProvider

NOW = datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)
HERE, THERE = "gateway-a.lab.svc:7070", "gateway-b.lab.svc:7070"


class Device(CoinProvider):
    simulator = False


def section(**changes: object) -> QPUSettings:
    return QPUSettings.model_validate({"name": "dev", "provider": "aer", **changes})


def provider(settings: QPUSettings) -> Provider:
    return AerProvider(settings, WorkerPool(WorkerLimits()))


def spec(**changes: object) -> api.QPUSpec:
    return make_spec(section(**changes), provider(section(**changes)))


def test_the_whole_spec_but_the_cordon_is_applied() -> None:
    made = make_manifest(
        "dev",
        spec(slots=3, slot_placement="Spread", slot_node_selector={"zone": "a"}),
        "main",
        Owner("role", "role-uid"),
    )
    assert made["spec"] == {
        "provider": "aer",
        "backendName": "aer_simulator_cpu",
        "simulator": True,
        "resourceName": "kubeqpu.io/qpu",
        "slots": 3,
        "slotPlacement": "Spread",
        "slotNodeSelector": {"zone": "a"},
    }
    assert made["metadata"] == {
        "name": "dev",
        "labels": {"kubeqpu.io/gateway": "main", "kubeqpu.io/provider": "aer"},
        "ownerReferences": [
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "ClusterRole",
                "name": "role",
                "uid": "role-uid",
            }
        ],
    }
    assert "ownerReferences" not in str(make_manifest("dev", spec(), "main", None))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"resource_name": "nvidia.com/gpu"}, "choose one of kubeqpu.io/qpu"),
        ({"resource_name": "kubeqpu.io/cpu-simulator"}, "is no simulator"),
        ({"slot_node_selector": {"a": "b"}}, "slot_placement to Spread"),
    ],
)
def test_what_the_server_would_refuse_is_refused_at_start(
    changes: dict[str, object], expected: str
) -> None:
    settings = section(**changes)
    with pytest.raises(ConfigurationError, match=expected):
        make_spec(settings, Device(settings))


@pytest.mark.parametrize(
    ("change", "current"),
    [
        ({}, True),
        ({"spec": {"unschedulable": True}}, True),
        ({"metadata": {"labels": {"site": "delft"}}}, True),
        ({"spec": {"slots": 9}}, False),
        ({"metadata": {"labels": {"kubeqpu.io/gateway": "other"}}}, False),
        ({"metadata": {"ownerReferences": []}}, False),
    ],
)
def test_drift_is_told_from_what_others_may_set(
    change: dict[str, dict[str, object]], current: bool
) -> None:
    wanted = make_manifest("dev", spec(), "main", Owner("role", "uid"))
    found = {**wanted}
    for part, fields in change.items():
        old = found[part]
        assert isinstance(old, dict)
        merged = {**old, **fields}
        if "labels" in fields:
            labels, more = old["labels"], fields["labels"]
            assert isinstance(labels, dict)
            assert isinstance(more, dict)
            merged["labels"] = {**labels, **more}
        found[part] = merged  # type: ignore[assignment]
    assert is_current(api.QPU.from_manifest(found), wanted) is current


def test_only_fields_that_cannot_change_conflict() -> None:
    found = api.QPUSpec(provider="ibm", backend_name="other", simulator=False, slots=9)
    assert find_conflicts(found, spec()) == (
        "provider is ibm and should be aer",
        "simulator is False and should be True",
    )
    assert find_conflicts(spec(slots=4), spec()) == ()


def owned(gateway: str, ready: ConditionStatus = ConditionStatus.TRUE) -> api.QPU:
    condition = api.Condition(
        type="Ready", status=ready, reason="Fine", message="", last_transition_time=NOW
    )
    return api.QPU(
        metadata=api.ObjectMeta(name="dev"),
        spec=spec(),
        status=api.QPUStatus(gateway=gateway, conditions=(condition,)),
    )


def held(holder: str, age_seconds: float = 5.0) -> Holder:
    return Holder(holder, NOW - timedelta(seconds=age_seconds), 40.0)


@pytest.mark.parametrize(
    ("found", "holder", "expected"),
    [
        (owned(HERE), held("other-0"), None),
        (owned(""), held("other-0"), None),
        (owned(THERE), held("other-0"), THERE),
        (owned(THERE), held("other-0", 41), None),
        (owned(THERE), held(""), None),
        (owned(THERE), held("own-0"), None),
        (owned(THERE), None, None),
        (owned("gateway.elsewhere.svc:7070"), None, "gateway.elsewhere.svc:7070"),
        (owned("gateway.elsewhere.svc:7070", ConditionStatus.UNKNOWN), None, None),
    ],
)
def test_a_qpu_belongs_to_the_gateway_that_lives(
    found: api.QPU, holder: Holder | None, expected: str | None
) -> None:
    assert find_rival(found, HERE, "own-0", holder, NOW) == expected


def test_a_lease_is_read_as_it_was_written() -> None:
    made = make_lease("lab", "dev", "uid", "own-0", NOW, NOW + timedelta(seconds=10))
    assert read_holder(made) == Holder("own-0", NOW + timedelta(seconds=10), 40.0)
    released = make_lease("lab", "dev", "uid", None, NOW, NOW)
    holder = read_holder(released)
    assert holder is not None
    assert holder.name == ""
    assert read_holder(None) is None
    assert made["metadata"] == {
        "name": "kubeqpu-qpu-dev",
        "namespace": "lab",
        "ownerReferences": [
            {"apiVersion": "kubeqpu.io/v1alpha1", "kind": "QPU", "name": "dev", "uid": "uid"}
        ],
    }
