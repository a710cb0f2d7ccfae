"""Statements on slots and on the jobs of their holders. Each works in the caller's transaction."""

from collections.abc import Sequence
from dataclasses import asdict

import sqlalchemy as sa

from kubeqpu.qpu_gateway.jobs import UNFINISHED_STATES, Job, JobState, Submitter
from kubeqpu.qpu_gateway.slots.slot import Holding, Slot
from kubeqpu.qpu_gateway.store import jobs
from kubeqpu.qpu_gateway.store.schema import JOBS, SLOTS

# Of at most 128, with what is added.
_KEPT_KEY_CHARACTERS = 80
_UNFINISHED = JOBS.c.state.in_(sorted(UNFINISHED_STATES))
_SUBMITTER = (JOBS.c.tenant, JOBS.c.pod, JOBS.c.pod_uid, JOBS.c.qpu)


def read_slots(connection: sa.Connection) -> list[Slot]:
    """Reads all slots."""
    return [
        Slot(
            qpu=row.qpu,
            number=row.number,
            node=row.node,
            generation=row.generation,
            holding=Holding(row.namespace, row.pod, row.container, row.pod_uid, row.pinned_at)
            if row.pod
            else None,
        )
        for row in connection.execute(sa.select(SLOTS).order_by(SLOTS.c.qpu, SLOTS.c.number))
    ]


def save_slots(connection: sa.Connection, slots: Sequence[Slot]) -> None:
    """Stores slots, in place of what was stored of them."""
    if not slots:
        return
    same = (SLOTS.c.qpu == sa.bindparam("old_qpu"), SLOTS.c.number == sa.bindparam("old_number"))
    keys = [{"old_qpu": slot.qpu, "old_number": slot.number} for slot in slots]
    connection.execute(SLOTS.delete().where(*same), keys)
    connection.execute(SLOTS.insert(), [_row(slot) for slot in slots])


def list_submitters(connection: sa.Connection) -> list[Submitter]:
    """Lists the pods with unfinished jobs that end with them."""
    query = sa.select(*_SUBMITTER).where(_UNFINISHED, JOBS.c.follows_pod).distinct()
    return [Submitter(*row) for row in connection.execute(query)]


def list_followers(connection: sa.Connection, submitter: Submitter) -> list[str]:
    """Lists the ids of a pod's unfinished jobs that end with it."""
    wanted = asdict(submitter)
    query = sa.select(JOBS.c.id).where(
        _UNFINISHED, JOBS.c.follows_pod, *(JOBS.c[name] == wanted[name] for name in wanted)
    )
    return list(connection.execute(query.order_by(JOBS.c.sequence)).scalars())


def hand_over(
    connection: sa.Connection, job_id: str, pod: str, pod_uid: str, follows_pod: bool
) -> Job:
    """Makes a job another pod's; what a job that is final follows, does not matter.

    Args:
        connection: A connection in a writing transaction.
        job_id: The job, which exists.
        pod: The pod's name.
        pod_uid: Its uid.
        follows_pod: Whether the job ends with it.
    """
    values = {"pod": pod, "pod_uid": pod_uid, "follows_pod": follows_pod}
    connection.execute(JOBS.update().where(JOBS.c.id == job_id).values(values))
    return jobs.read_job(connection, job_id)


def cancel_orphan(
    connection: sa.Connection, job_id: str, submitter: Submitter, message: str, now: float
) -> Job | None:
    """Cancels a job that still ends with a pod, and frees its idempotency key.

    Who tries again in the pod's place means a new job, not the cancelled one.

    Args:
        connection: A connection in a writing transaction.
        job_id: The job.
        submitter: The pod that is gone.
        message: Why, for the job's owner.
        now: Seconds since the epoch.

    Returns:
        The job, or None if it is final or another's by now.
    """
    job = jobs.read_job(connection, job_id, lock=True)
    if job.state.final or not job.follows_pod or job.submitter != submitter:
        return None
    freed = f"{job.idempotency_key[:_KEPT_KEY_CHARACTERS]}#orphaned-{job.id}"
    connection.execute(JOBS.update().where(JOBS.c.id == job_id).values({"idempotency_key": freed}))
    return jobs.change_state(connection, job, JobState.CANCELLED, message, now)


def _row(slot: Slot) -> dict[str, object]:
    holding = slot.holding or Holding("", "")
    return {
        "qpu": slot.qpu,
        "number": slot.number,
        "node": slot.node,
        "generation": slot.generation,
        "namespace": holding.namespace,
        "pod": holding.pod,
        "container": holding.container,
        "pod_uid": holding.uid,
        "pinned_at": holding.pinned_at,
    }
