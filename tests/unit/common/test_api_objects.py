"""The API objects: reading, writing, and the plain data made from them."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, JsonValue, ValidationError

from kubeqpu.common import api, placement
from kubeqpu.common.placement import LabelExpression, LabelOperator
from kubeqpu.common.qpu import ConditionStatus

M = TypeVar("M", bound=BaseModel)


def build(model: type[M], **parts: st.SearchStrategy[Any]) -> st.SearchStrategy[M]:
    """Builds a model by its fields' names; `st.builds` would want their aliases."""
    return st.fixed_dictionaries(parts).map(lambda values: model(**values))


names = st.text("abc", min_size=1, max_size=8)
labels = st.dictionaries(names, names, max_size=3)
errors = st.floats(0, 1)
counts = st.integers(0, 2**40)
times = st.datetimes(
    min_value=datetime(2020, 1, 1), max_value=datetime(2040, 1, 1), timezones=st.just(UTC)
)
metadata = build(api.ObjectMeta, name=names, labels=labels)
statuses = build(
    api.QPUStatus,
    observed_generation=st.none() | counts,
    conditions=st.lists(
        build(
            api.Condition,
            type=st.sampled_from(["Ready", "Accepting", "Calibrated"]),
            status=st.sampled_from(ConditionStatus),
            reason=st.sampled_from(["Fine", "Outage"]),
            message=st.text(max_size=20),
            last_transition_time=times,
        ),
        max_size=3,
        unique_by=lambda item: item.type,
    ).map(tuple),
    gateway=names,
    num_qubits=counts,
    basis_gates=st.lists(names, max_size=3).map(tuple),
    queue=build(
        api.QueueStatus,
        provider_pending=counts,
        gateway_pending=counts,
        estimated_wait_seconds=st.floats(0, 1e9),
    ),
    calibration=st.none()
    | build(
        api.CalibrationStatus,
        id=names,
        time=times,
        median_one_qubit_error=errors,
        median_two_qubit_error=errors,
        median_readout_error=errors,
        median_t1_seconds=errors,
        median_t2_seconds=errors,
        eplg=st.none() | errors,
        dead_edges=counts,
    ),
    nodes=st.lists(
        build(api.NodeSlots, name=names, slots=st.integers(0, 1000), held=st.integers(0, 1000)),
        max_size=3,
    ).map(tuple),
)
specs = build(
    api.QPUSpec,
    provider=names,
    backend_name=names,
    simulator=st.booleans(),
    resource_name=st.sampled_from(api.ResourceName),
    slots=st.integers(1, 1000),
    slot_placement=st.sampled_from(api.SlotPlacement),
    slot_node_selector=labels,
    unschedulable=st.booleans(),
)
qpus = build(api.QPU, metadata=metadata, spec=specs, status=statuses)

limits = st.none() | st.floats(1e-9, 1)
seconds = st.none() | st.integers(1, 10**9).map(lambda count: count / 1000)
classes = st.builds(
    placement.PlacementClass,
    name=names,
    requirements=st.builds(
        placement.Requirements,
        min_qubits=st.integers(1, 10_000),
        max_median_two_qubit_error=limits,
        max_median_readout_error=limits,
        max_eplg=limits,
        max_calibration_age_seconds=seconds,
        max_estimated_wait_seconds=seconds,
        providers=st.frozensets(names, max_size=3),
        simulators=st.sampled_from(placement.SimulatorPolicy),
        selector=labels,
        selector_expressions=st.lists(
            st.builds(
                LabelExpression,
                names,
                st.sampled_from(LabelOperator),
                st.frozensets(names, max_size=3),
            ),
            max_size=3,
        ).map(tuple),
    ),
    weights=st.builds(
        placement.Weights,
        wait=st.floats(0.001, 1000),
        fidelity=st.floats(0, 1000),
        freshness=st.floats(0, 1000),
        utilisation=st.floats(0, 1000),
    ),
)
quotas = build(
    api.QPUQuota,
    metadata=build(api.ObjectMeta, name=names, namespace=names),
    spec=build(
        api.QPUQuotaSpec,
        hard=build(
            api.HardLimits,
            qpu_seconds=st.none() | st.floats(0, 1e9),
            shots=st.none() | counts,
            jobs=st.none() | counts,
        ),
        window=st.integers(60, 10**6).map(lambda count: timedelta(seconds=count)),
    ),
    status=build(
        api.QPUQuotaStatus,
        used=build(api.Usage, qpu_seconds=st.floats(0, 1e9), shots=counts, jobs=counts),
    ),
)


def over_the_wire(found: api.APIObject) -> dict[str, JsonValue]:
    manifest: dict[str, JsonValue] = json.loads(json.dumps(found.to_manifest()))
    return manifest


@given(qpus)
def test_a_qpu_survives_the_wire(found: api.QPU) -> None:
    assert api.QPU.from_manifest(over_the_wire(found)) == found


@given(quotas)
def test_a_quota_survives_the_wire(found: api.QPUQuota) -> None:
    assert api.QPUQuota.from_manifest(over_the_wire(found)) == found


@given(classes)
def test_a_class_survives_becoming_an_object_and_the_wire(plain: placement.PlacementClass) -> None:
    found = api.QPUClass.from_manifest(over_the_wire(api.class_object(plain)))
    assert api.placement_class(found) == plain


@given(qpus)
def test_placement_sees_what_the_object_says(found: api.QPU) -> None:
    plain = api.plain_qpu(found)
    status = found.status
    assert plain.name == found.metadata.name
    assert plain.labels == found.metadata.labels
    assert (plain.provider, plain.simulator) == (found.spec.provider, found.spec.simulator)
    assert (plain.slots, plain.unschedulable) == (found.spec.slots, found.spec.unschedulable)
    assert plain.num_qubits == status.num_qubits
    assert plain.slots_held == sum(node.held for node in status.nodes)
    for item in status.conditions:
        assert plain.is_true(item.type) == (item.status == "True")
        assert plain.conditions[item.type].message == item.message
    for part in ("queue", "calibration"):
        theirs, ours = getattr(status, part), getattr(plain, part)
        assert (theirs is None) == (ours is None)
        if theirs is not None:
            assert theirs.model_dump() == vars(ours)


def test_names_on_the_wire_are_those_of_the_api() -> None:
    requirements = api.RequirementsSpec(max_eplg=0.1, max_calibration_age=timedelta(hours=1))
    assert requirements.model_dump(by_alias=True, exclude_unset=True, mode="json") == {
        "maxEPLG": 0.1,
        "maxCalibrationAge": "1h",
    }
    assert api.CalibrationStatus.model_fields["median_t1_seconds"].alias == "medianT1Seconds"


def test_only_fields_that_were_set_are_written() -> None:
    # The gateway applies the spec; writing the default of `unschedulable` would lift a cordon.
    found = api.QPU(metadata=api.ObjectMeta(name="fez"), spec=api.QPUSpec(provider="ibm", slots=2))
    assert found.to_manifest() == {
        "apiVersion": "kubeqpu.io/v1alpha1",
        "kind": "QPU",
        "metadata": {"name": "fez"},
        "spec": {"provider": "ibm", "slots": 2},
    }


def test_fields_of_a_newer_version_are_ignored() -> None:
    found = api.QPU.from_manifest(
        {
            "apiVersion": "kubeqpu.io/v1alpha1",
            "kind": "QPU",
            "metadata": {"name": "fez", "managedFields": []},
            "spec": {"provider": "ibm", "colour": "blue"},
        }
    )
    assert found.spec == api.QPUSpec(provider="ibm")


def test_another_kind_is_refused() -> None:
    manifest: dict[str, JsonValue] = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "a"}}
    with pytest.raises(ValueError, match=r"is v1 Node, expected kubeqpu.io/v1alpha1 QPU\."):
        api.QPU.from_manifest(manifest)


@pytest.mark.parametrize("change", [{"slots": 0}, {"provider": ""}, {"resourceName": "cpu"}])
def test_a_spec_out_of_bounds_is_refused(change: dict[str, JsonValue]) -> None:
    with pytest.raises(ValidationError):
        api.QPUSpec.model_validate({"provider": "ibm", **change})


def test_a_time_without_zone_is_refused() -> None:
    with pytest.raises(ValidationError, match="timezone"):
        api.Condition.model_validate(
            {
                "type": "Ready",
                "status": "True",
                "reason": "Fine",
                "message": "",
                "lastTransitionTime": "2026-11-23T12:00:00",
            }
        )


def test_the_longest_name_still_makes_a_lease() -> None:
    assert api.lease_name("fez") == "kubeqpu-qpu-fez"
    assert len(api.lease_name("a" * 50)) <= 63


@pytest.mark.parametrize(
    ("wait", "text"),
    [(0, "0s"), (119.4, "119s"), (119.6, "2m"), (7199, "2h"), (258_000, "3d"), (1e12, "99999d")],
)
def test_the_wait_is_shortened_for_people(wait: float, text: str) -> None:
    assert api.shorten_seconds(wait) == text


@given(specs, statuses)
def test_a_summary_fits_its_columns(spec: api.QPUSpec, status: api.QPUStatus) -> None:
    summary = api.summarise(spec, status)
    held = sum(node.held for node in status.nodes)
    assert summary.slots == f"{held}/{spec.slots}"
    assert len(summary.wait) <= 6


@pytest.mark.parametrize(
    ("operator", "values", "holding"),
    [
        (LabelOperator.IN, {"a", "b"}, [{"x": "a"}]),
        (LabelOperator.NOT_IN, {"a"}, [{"x": "c"}, {}]),
        (LabelOperator.EXISTS, set(), [{"x": "a"}, {"x": "c"}]),
        (LabelOperator.DOES_NOT_EXIST, set(), [{}]),
    ],
)
def test_expressions_select_as_kubernetes_does(
    operator: LabelOperator, values: set[str], holding: list[dict[str, str]]
) -> None:
    expression = LabelExpression("x", operator, frozenset(values))
    everything: list[dict[str, str]] = [{"x": "a"}, {"x": "c"}, {}]
    assert [found for found in everything if expression.holds(found)] == holding


def test_a_refusal_names_the_expression() -> None:
    wanted = placement.Requirements(
        selector_expressions=(LabelExpression("site", LabelOperator.IN, frozenset({"x", "y"})),)
    )
    found = api.QPU(
        metadata=api.ObjectMeta(name="fez", labels={"site": "z"}),
        spec=api.QPUSpec(provider="ibm"),
        status=api.QPUStatus(
            num_qubits=5,
            conditions=tuple(
                api.Condition(
                    type=kind,
                    status=ConditionStatus.TRUE,
                    reason="Fine",
                    message="",
                    last_transition_time=datetime(2026, 11, 23, tzinfo=UTC),
                )
                for kind in ("Ready", "Accepting")
            ),
        ),
    )
    refusal = placement.fits(api.plain_qpu(found), wanted, datetime.now(UTC))
    assert refusal is not None
    assert refusal.message == "label site is 'z', class standard selects site In (x, y)"
