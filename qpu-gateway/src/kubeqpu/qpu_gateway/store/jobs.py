"""Statements on jobs. Every function works inside the caller's transaction."""

from collections.abc import Collection
from typing import Any

import sqlalchemy as sa

from kubeqpu.qpu_gateway.errors import ConflictError, NotFoundError, ResourceExhaustedError
from kubeqpu.qpu_gateway.jobs import UNFINISHED_STATES, Job, JobState, NewJob, can_become
from kubeqpu.qpu_gateway.store.schema import CHUNKS, JOBS, SPECS

_COLUMNS = tuple(JOBS.c[name] for name in Job.__dataclass_fields__)
_NEW_COLUMNS = tuple(name for name in NewJob.__dataclass_fields__ if name != "spec")

# Both questions in one statement: submitting is the path that a person waits on.
_BEFORE_INSERT = sa.select(
    sa.select(sa.func.count())
    .where(
        JOBS.c.tenant == sa.bindparam("tenant"),
        sa.or_(*(JOBS.c.state == int(state) for state in sorted(UNFINISHED_STATES))),
    )
    .scalar_subquery(),
    sa.select(JOBS.c.sequence)
    .where(
        JOBS.c.tenant == sa.bindparam("tenant"),
        JOBS.c.idempotency_key == sa.bindparam("key"),
    )
    .scalar_subquery(),
)


def insert_job(connection: sa.Connection, new: NewJob, max_unfinished: int) -> tuple[Job, bool]:
    """Stores a job, unless one with its idempotency key is there.

    Args:
        connection: A connection in a writing transaction.
        new: The job.
        max_unfinished: Most queued and running jobs its tenant may have.

    Returns:
        The stored job, and whether it is new.

    Raises:
        ConflictError: If the key was used for another spec.
        ResourceExhaustedError: If the tenant has too many unfinished jobs.
    """
    unfinished, sequence = connection.execute(
        _BEFORE_INSERT, {"tenant": new.tenant, "key": new.idempotency_key}
    ).one()
    if sequence is not None:
        same_key = find_by_key(connection, new.tenant, new.idempotency_key)
        assert same_key is not None
        check_same_spec(same_key, new.spec_digest)
        return same_key, False
    _check_unfinished(new.tenant, unfinished, max_unfinished)
    values = {name: getattr(new, name) for name in _NEW_COLUMNS}
    values |= {"seed": str(new.seed), "state": int(JobState.QUEUED)}
    values |= {"message": "", "circuits_finished": 0, "qpu_seconds": 0.0}
    inserted = connection.execute(JOBS.insert(), values).inserted_primary_key
    assert inserted is not None
    connection.execute(SPECS.insert(), {"job_sequence": inserted[0], "data": new.spec})
    values |= {"sequence": inserted[0], "seed": new.seed}
    values |= {"state": JobState.QUEUED, "started_at": None, "finished_at": None}
    del values["result_ttl_seconds"]
    return Job(expires_at=None, **values), True


def check_same_spec(job: Job, spec_digest: str) -> None:
    """Refuses an idempotency key that names a job with another spec.

    Raises:
        ConflictError: If the digests differ.
    """
    if job.spec_digest != spec_digest:
        raise ConflictError(
            f"Idempotency key {job.idempotency_key!r} already names job {job.id} with another "
            "spec; use a new key for a different job."
        )


def find_by_key(connection: sa.Connection, tenant: str, key: str) -> Job | None:
    """Reads the tenant's job with an idempotency key, or None."""
    query = sa.select(*_COLUMNS).where(JOBS.c.tenant == tenant, JOBS.c.idempotency_key == key)
    row = connection.execute(query).one_or_none()
    return None if row is None else _to_job(row)


def read_job(
    connection: sa.Connection, job_id: str, tenant: str | None = None, lock: bool = False
) -> Job:
    """Reads a job; with a tenant, only that tenant's.

    Raises:
        NotFoundError: If there is none, or it is another tenant's.
    """
    query = sa.select(*_COLUMNS).where(JOBS.c.id == job_id)
    if tenant is not None:
        query = query.where(JOBS.c.tenant == tenant)
    if lock:
        query = query.with_for_update()
    # What is no id of ours may hold characters that a database cannot even look for.
    row = connection.execute(query).one_or_none() if job_id.isalnum() else None
    if row is None:
        raise NotFoundError(
            f"There is no job {job_id!r}; it may have expired. List your jobs to see which exist."
        )
    return _to_job(row)


def read_spec(connection: sa.Connection, job_id: str) -> bytes:
    """Reads a job's serialized spec; the job must exist."""
    spec: bytes = connection.execute(
        sa.select(SPECS.c.data)
        .join(JOBS, JOBS.c.sequence == SPECS.c.job_sequence)
        .where(JOBS.c.id == job_id)
    ).scalar_one()
    return spec


def list_jobs(
    connection: sa.Connection,
    tenant: str,
    states: Collection[JobState],
    limit: int,
    before: int | None,
) -> list[Job]:
    """Reads a tenant's jobs, newest first, from below a sequence number."""
    query = sa.select(*_COLUMNS).where(JOBS.c.tenant == tenant)
    if states:
        query = query.where(JOBS.c.state.in_(sorted(states)))
    if before is not None:
        query = query.where(JOBS.c.sequence < before)
    rows = connection.execute(query.order_by(JOBS.c.sequence.desc()).limit(limit))
    return [_to_job(row) for row in rows]


def list_unfinished(connection: sa.Connection) -> list[Job]:
    """Reads everybody's queued and running jobs, oldest first."""
    query = sa.select(*_COLUMNS).where(JOBS.c.state.in_(sorted(UNFINISHED_STATES)))
    return [_to_job(row) for row in connection.execute(query.order_by(JOBS.c.sequence))]


def change_state(
    connection: sa.Connection, job: Job, wanted: JobState, message: str, now: float
) -> Job:
    """Moves a job to another state; a job that may not go there stays as it is.

    Args:
        connection: A connection in a writing transaction.
        job: The job, read in this transaction.
        wanted: The state to reach.
        message: Why, for a job that fails or is cancelled.
        now: Seconds since the epoch.

    Returns:
        The job as it is now.
    """
    if not can_become(job.state, wanted):
        return job
    values: dict[str, Any] = {"state": int(wanted), "message": _printable(message)}
    if wanted is JobState.RUNNING:
        values["started_at"] = now
    if wanted.final:
        values["finished_at"] = now
        values["expires_at"] = now + JOBS.c.result_ttl_seconds
    connection.execute(JOBS.update().where(JOBS.c.id == job.id).values(values))
    return read_job(connection, job.id)


def delete_expired(connection: sa.Connection, now: float, limit: int) -> int:
    """Deletes jobs whose time is over, with their specs and results; returns how many."""
    query = sa.select(JOBS.c.sequence, JOBS.c.id).where(JOBS.c.expires_at <= now).limit(limit)
    expired = connection.execute(query).all()
    if expired:
        sequences = [row.sequence for row in expired]
        connection.execute(CHUNKS.delete().where(CHUNKS.c.job_id.in_([row.id for row in expired])))
        connection.execute(SPECS.delete().where(SPECS.c.job_sequence.in_(sequences)))
        connection.execute(JOBS.delete().where(JOBS.c.sequence.in_(sequences)))
    return len(expired)


def _check_unfinished(tenant: str, unfinished: int, limit: int) -> None:
    if unfinished >= limit:
        raise ResourceExhaustedError(
            f"Tenant {tenant} has {unfinished} unfinished jobs and may have {limit}; wait until "
            "some finish, or put more circuits into each job."
        )


def _printable(message: str) -> str:
    """Replaces what not every database can store: an error may quote anything."""
    return message.encode("utf-8", "replace").decode().replace("\0", "\ufffd")


def _to_job(row: sa.Row[Any]) -> Job:
    values = row._asdict()
    return Job(**{**values, "seed": int(row.seed), "state": JobState(row.state)})
