"""Jobs as plain data: what a job is, which states it passes, and how many rows it has."""

from dataclasses import dataclass
from enum import IntEnum

from kubeqpu.proto.v1 import gateway_pb2


class JobState(IntEnum):
    """States of a job, numbered as in the contract."""

    QUEUED = gateway_pb2.JOB_STATE_QUEUED
    RUNNING = gateway_pb2.JOB_STATE_RUNNING
    SUCCEEDED = gateway_pb2.JOB_STATE_SUCCEEDED
    FAILED = gateway_pb2.JOB_STATE_FAILED
    CANCELLED = gateway_pb2.JOB_STATE_CANCELLED

    @property
    def final(self) -> bool:
        """Whether a job in this state never changes again."""
        return self in FINAL_STATES


FINAL_STATES = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED})
UNFINISHED_STATES = frozenset(JobState) - FINAL_STATES

# A queued job may succeed at once: its last rows and its first are stored together.
_TRANSITIONS = {
    JobState.QUEUED: frozenset(JobState) - {JobState.QUEUED},
    JobState.RUNNING: FINAL_STATES,
}


def can_become(state: JobState, wanted: JobState) -> bool:
    """Tells whether a job may pass from one state to another."""
    return wanted in _TRANSITIONS.get(state, frozenset())


@dataclass(frozen=True)
class NewJob:
    """A validated job about to be stored.

    Attributes:
        id: Unique over all tenants.
        tenant: Whose job it is.
        idempotency_key: The caller's name for it, unique per tenant.
        spec_digest: SHA-256 of the spec as the caller sent it, in hexadecimal.
        spec: The serialized JobSpec with its seed filled in.
        qpu: QPU it was placed on.
        placement: Why it was placed there, in one sentence; empty where the caller named the QPU.
        seed: Its seed, 0 to 2^64 - 1.
        circuits: Its rows over all entries.
        priority: Higher runs first.
        submitted_at: Seconds since the epoch.
        result_ttl_seconds: How long its results are kept after it ended.
        pod: The pod that submitted it, in the tenant's namespace; empty where it was none.
        pod_uid: That pod's uid.
        follows_pod: Whether it is cancelled some time after that pod no longer holds a slot.
    """

    id: str
    tenant: str
    idempotency_key: str
    spec_digest: str
    spec: bytes
    qpu: str
    placement: str
    seed: int
    circuits: int
    priority: int
    submitted_at: float
    result_ttl_seconds: float
    pod: str = ""
    pod_uid: str = ""
    follows_pod: bool = False


@dataclass(frozen=True)
class Job:
    """A stored job without its circuits. Times are seconds since the epoch.

    Attributes:
        sequence: Rises with every job stored; orders jobs of equal priority.
        id: Unique over all tenants.
        tenant: Whose job it is.
        idempotency_key: The caller's name for it.
        spec_digest: SHA-256 of the spec as the caller sent it, in hexadecimal.
        qpu: QPU it was placed on.
        placement: Why it was placed there.
        seed: Its seed, 0 to 2^64 - 1.
        state: Where it stands.
        message: Why it failed or was cancelled.
        circuits: Its rows over all entries.
        circuits_finished: Rows whose results are stored.
        priority: Higher runs first.
        submitted_at: When it was acknowledged.
        started_at: When its first batch started, or None.
        finished_at: When it reached a final state, or None.
        expires_at: When it is deleted with its results, or None while it is not final.
        qpu_seconds: How long the QPU was busy with it.
        pod: The pod that submitted it, in the tenant's namespace; empty where it was none.
        pod_uid: That pod's uid.
        follows_pod: Whether it is cancelled some time after that pod no longer holds a slot.
    """

    sequence: int
    id: str
    tenant: str
    idempotency_key: str
    spec_digest: str
    qpu: str
    placement: str
    seed: int
    state: JobState
    message: str
    circuits: int
    circuits_finished: int
    priority: int
    submitted_at: float
    started_at: float | None
    finished_at: float | None
    expires_at: float | None
    qpu_seconds: float
    pod: str = ""
    pod_uid: str = ""
    follows_pod: bool = False

    @property
    def submitter(self) -> "Submitter":
        """The pod that submitted it."""
        return Submitter(self.tenant, self.pod, self.pod_uid, self.qpu)

    @property
    def reference(self) -> str:
        """How logs name it: tenant/id."""
        return f"{self.tenant}/{self.id}"


@dataclass(frozen=True)
class Submitter:
    """A pod that submitted jobs by right of a slot.

    Attributes:
        tenant: Its namespace.
        pod: Its name.
        pod_uid: Its uid.
        qpu: The QPU of its slot.
    """

    tenant: str
    pod: str
    pod_uid: str
    qpu: str


def entry_rows(spec: gateway_pb2.JobSpec) -> tuple[int, ...]:
    """Counts the rows of each entry of a job."""
    entries = spec.sampler.entries if spec.HasField("sampler") else spec.estimator.entries
    return tuple(entry.parameters.rows for entry in entries)
