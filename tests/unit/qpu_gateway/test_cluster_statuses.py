"""What a provider reports, as the status of a QPU object."""

import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubeqpu.common import api
from kubeqpu.common.qpu import ConditionStatus
from kubeqpu.proto.v1 import qpu_pb2
from kubeqpu.qpu_gateway.cluster.statuses import (
    Context,
    Verdict,
    make_conditions,
    make_status,
    write_status,
)

NOW = datetime(2026, 5, 4, 3, 2, 1, 999, tzinfo=UTC)
SPEC = api.QPUSpec(provider="fake", slots=2)


def context(
    previous: tuple[api.Condition, ...] = (), overrides: Mapping[str, Verdict] | None = None
) -> Context:
    return Context(SPEC, "gateway.here.svc:7070", 3, previous, NOW, overrides or {})


def report() -> qpu_pb2.QPU:
    message = qpu_pb2.QPU(num_qubits=20, max_shots=100, max_circuits=7, basis_gates=["cz", "rz"])
    for kind in ("Ready", "Accepting", "Calibrated"):
        message.conditions.add(type=kind, status="True", reason="Fine")
    message.queue.gateway_pending = 5
    message.queue.estimated_wait_seconds = 123.456
    message.calibration.id = "abc"
    message.calibration.time.FromDatetime(NOW - timedelta(hours=2))
    message.calibration.median_one_qubit_error = 0.000123456
    message.calibration.median_two_qubit_error = 0.0123456
    return message


def test_a_report_becomes_a_status() -> None:
    status = make_status(report(), context())
    assert (status.num_qubits, status.max_shots, status.max_circuits) == (20, 100, 7)
    assert status.basis_gates == ("cz", "rz")
    assert (status.gateway, status.observed_generation) == ("gateway.here.svc:7070", 3)
    assert status.queue == api.QueueStatus(gateway_pending=5, estimated_wait_seconds=123.0)
    assert status.summary == api.Summary(wait="2m", slots="0/2")
    assert status.calibration is not None
    assert status.calibration.median_one_qubit_error == 0.000123
    assert status.calibration.median_two_qubit_error == 0.0123
    assert status.calibration.eplg is None
    written = write_status("dev", "some-uid", status)
    assert written["metadata"] == {"name": "dev", "uid": "some-uid"}
    content = written["status"]
    assert isinstance(content, dict)
    assert content["summary"] == {"wait": "2m", "slots": "0/2"}
    assert "nodes" not in content


def test_a_status_keeps_its_transition_time_until_it_changes() -> None:
    early = NOW - timedelta(days=3)
    before = tuple(
        api.Condition(
            type=kind,
            status=ConditionStatus.TRUE,
            reason="Other",
            message="",
            last_transition_time=early,
        )
        for kind in ("Ready", "Accepting", "Calibrated")
    )
    message = report()
    message.conditions[0].status = "False"
    found = {item.type: item for item in make_status(message, context(before)).conditions}
    assert found["Ready"].last_transition_time == NOW.replace(microsecond=0)
    assert found["Accepting"].last_transition_time == early
    assert found["Accepting"].reason == "Fine"
    assert found["Accepting"].observed_generation == 3


def test_what_the_gateway_knows_better_outranks_the_provider() -> None:
    conflict = Verdict(ConditionStatus.FALSE, "ConfigurationConflict", "choose another name")
    found = make_status(report(), context(overrides={"Ready": conflict})).conditions
    assert [(item.type, item.status) for item in found] == [
        ("Ready", "False"),
        ("Accepting", "True"),
        ("Calibrated", "True"),
    ]


def test_conditions_that_are_not_reported_are_unknown_and_tell_why() -> None:
    message = qpu_pb2.QPU()
    message.conditions.add(
        type="Ready", status="False", reason="ProviderNotStarted", message="no such backend"
    )
    found = {item.type: item for item in make_status(message, context()).conditions}
    for kind in ("Accepting", "Calibrated"):
        assert found[kind].status is ConditionStatus.UNKNOWN
        assert found[kind].reason == "ProviderNotStarted"
        assert found[kind].message == "no such backend"


@pytest.mark.parametrize(("given_error", "expected"), [(math.nan, 1.0), (7.0, 1.0), (-0.5, 0.0)])
def test_an_impossible_error_is_put_right(given_error: float, expected: float) -> None:
    message = report()
    message.calibration.median_two_qubit_error = given_error
    calibration = make_status(message, context()).calibration
    assert calibration is not None
    assert calibration.median_two_qubit_error == expected


@given(
    error=st.floats(allow_nan=True, allow_infinity=True),
    wait=st.floats(allow_nan=True, allow_infinity=True),
    reason=st.text(max_size=20),
    status=st.text(max_size=8),
    message=st.text(max_size=100),
    gates=st.lists(st.text(max_size=100), max_size=300),
)
def test_whatever_is_reported_can_be_written(
    error: float, wait: float, reason: str, status: str, message: str, gates: list[str]
) -> None:
    reported = report()
    reported.calibration.median_readout_error = error
    reported.calibration.median_t1_seconds = wait
    reported.calibration.eplg = error
    reported.queue.estimated_wait_seconds = wait
    reported.conditions[0].reason = reason
    reported.conditions[0].status = status
    reported.conditions[0].message = message
    del reported.basis_gates[:]
    reported.basis_gates.extend(gates)
    made = make_status(reported, context())
    written = write_status("dev", "uid", made)
    assert api.QPUStatus.model_validate(written["status"]) == made


def test_times_are_written_in_whole_seconds_of_utc() -> None:
    (made,) = make_conditions({"Ready": Verdict(ConditionStatus.TRUE, "Fine")}, context())
    assert made.model_dump(mode="json")["last_transition_time"] == "2026-05-04T03:02:01Z"
