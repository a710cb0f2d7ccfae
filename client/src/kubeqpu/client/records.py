"""A job as the gateway reports it."""

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum

from google.protobuf import timestamp_pb2

from kubeqpu.client import errors
from kubeqpu.proto.v1 import gateway_pb2


class JobState(Enum):
    """Where a job is in its life."""

    QUEUED = gateway_pb2.JOB_STATE_QUEUED
    RUNNING = gateway_pb2.JOB_STATE_RUNNING
    SUCCEEDED = gateway_pb2.JOB_STATE_SUCCEEDED
    FAILED = gateway_pb2.JOB_STATE_FAILED
    CANCELLED = gateway_pb2.JOB_STATE_CANCELLED

    @property
    def is_final(self) -> bool:
        """Whether the job will not change any more."""
        return self in {JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED}


@dataclass(frozen=True)
class JobRecord:
    """A job at one moment.

    Attributes:
        id: Given by the gateway.
        qpu: The QPU it runs on.
        state: Where it is in its life.
        message: Why it failed or was cancelled, in one sentence.
        seed: Seed of its random numbers, chosen by the gateway if the job gave none.
        circuits: Rows of all entries.
        circuits_finished: Rows whose results are stored.
        priority: Higher runs first.
        qpu_seconds: Time the QPU was busy with it.
        idempotency_key: Key it was submitted under.
        submitted_at: When the gateway stored it.
        started_at: When its first circuit started, or None.
        finished_at: When it ended, or None.
        expires_at: When its results are deleted, or None while it runs.
    """

    id: str
    qpu: str
    state: JobState
    message: str
    seed: int
    circuits: int
    circuits_finished: int
    priority: int
    qpu_seconds: float
    idempotency_key: str
    submitted_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    expires_at: datetime | None

    def require_success(self) -> "JobRecord":
        """Returns the record of a job that succeeded.

        Raises:
            JobFailedError: If it failed, with the gateway's reason.
            JobCancelledError: If it was cancelled.
        """
        reason = self.message or "the gateway gave no reason"
        if self.state is JobState.FAILED:
            raise errors.JobFailedError(f"Job {self.id} failed: {reason}")
        if self.state is JobState.CANCELLED:
            raise errors.JobCancelledError(
                f"Job {self.id} was cancelled: {reason} "
                f"{self.circuits_finished} of {self.circuits} circuits had finished."
            )
        return self


def read_record(job: gateway_pb2.Job) -> JobRecord:
    """Reads a job from the wire.

    Raises:
        ProtocolError: If its state is unknown to this client.
    """
    try:
        state = JobState(job.state)
    except ValueError as error:
        raise errors.ProtocolError(
            f"Job {job.id} is in state {job.state}, which this client does not know; the gateway "
            "is newer, so update kubeqpu-client."
        ) from error
    return JobRecord(
        id=job.id,
        qpu=job.qpu,
        state=state,
        message=job.message,
        seed=job.seed,
        circuits=job.circuits,
        circuits_finished=job.circuits_finished,
        priority=job.priority,
        qpu_seconds=job.qpu_seconds,
        idempotency_key=job.idempotency_key,
        submitted_at=_read_time(job.HasField("submitted_at"), job.submitted_at),
        started_at=_read_time(job.HasField("started_at"), job.started_at),
        finished_at=_read_time(job.HasField("finished_at"), job.finished_at),
        expires_at=_read_time(job.HasField("expires_at"), job.expires_at),
    )


def _read_time(present: bool, time: timestamp_pb2.Timestamp) -> datetime | None:
    return time.ToDatetime(tzinfo=UTC) if present else None
