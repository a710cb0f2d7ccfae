"""Turns QPUs and jobs into wire messages or plain data. Pure."""

from collections.abc import Mapping
from datetime import UTC, datetime

from google.protobuf import timestamp_pb2

from kubeqpu.common.qpu import QPU, Calibration, Condition, ConditionStatus, Queue
from kubeqpu.proto.v1 import gateway_pb2, qpu_pb2
from kubeqpu.qpu_gateway.jobs import Job


def to_timestamp(seconds: float) -> timestamp_pb2.Timestamp:
    """Gives seconds since the epoch as a wire timestamp, to the microsecond."""
    micros = round(seconds * 1e6)
    return timestamp_pb2.Timestamp(seconds=micros // 10**6, nanos=micros % 10**6 * 1000)


def to_job_message(job: Job) -> gateway_pb2.Job:
    """Gives a job as its owner sees it."""
    message = gateway_pb2.Job(
        id=job.id,
        qpu=job.qpu,
        state=gateway_pb2.JobState.ValueType(job.state),
        message=job.message,
        seed=job.seed,
        circuits=job.circuits,
        circuits_finished=job.circuits_finished,
        priority=job.priority,
        submitted_at=to_timestamp(job.submitted_at),
        qpu_seconds=job.qpu_seconds,
        idempotency_key=job.idempotency_key,
    )
    if job.started_at is not None:
        message.started_at.CopyFrom(to_timestamp(job.started_at))
    if job.finished_at is not None:
        message.finished_at.CopyFrom(to_timestamp(job.finished_at))
    if job.expires_at is not None:
        message.expires_at.CopyFrom(to_timestamp(job.expires_at))
    return message


def to_qpu(
    message: qpu_pb2.QPU,
    slots_held: int,
    unschedulable: bool = False,
    labels: Mapping[str, str] | None = None,
) -> QPU:
    """Gives a QPU as placement wants it.

    Args:
        message: Its description.
        slots_held: How many of its slots are in use.
        unschedulable: Whether it is cordoned.
        labels: Labels of its API object.
    """
    return QPU(
        name=message.name,
        provider=message.provider,
        simulator=message.simulator,
        num_qubits=message.num_qubits,
        conditions={
            condition.type: Condition(
                condition.type,
                _status(condition.status),
                condition.reason,
                condition.message,
            )
            for condition in message.conditions
        },
        queue=Queue(
            message.queue.provider_pending,
            message.queue.gateway_pending,
            message.queue.estimated_wait_seconds,
        ),
        calibration=_calibration(message),
        slots=message.slots,
        slots_held=slots_held,
        labels=dict(labels or {}),
        unschedulable=unschedulable,
    )


def _status(status: str) -> ConditionStatus:
    known = {item.value for item in ConditionStatus}
    return ConditionStatus(status) if status in known else ConditionStatus.UNKNOWN


def _calibration(message: qpu_pb2.QPU) -> Calibration | None:
    if not message.HasField("calibration"):
        return None
    found = message.calibration
    return Calibration(
        id=found.id,
        time=datetime.fromtimestamp(found.time.seconds + found.time.nanos / 1e9, UTC),
        median_one_qubit_error=found.median_one_qubit_error,
        median_two_qubit_error=found.median_two_qubit_error,
        median_readout_error=found.median_readout_error,
        median_t1_seconds=found.median_t1_seconds,
        median_t2_seconds=found.median_t2_seconds,
        eplg=found.eplg if found.HasField("eplg") else None,
        dead_edges=found.dead_edges,
    )
