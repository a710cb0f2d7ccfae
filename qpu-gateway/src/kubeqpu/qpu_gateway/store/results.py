"""Statements on results. Every function works inside the caller's transaction."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa

from kubeqpu.qpu_gateway.errors import ProviderError
from kubeqpu.qpu_gateway.jobs import Job, JobState
from kubeqpu.qpu_gateway.providers.base import Span
from kubeqpu.qpu_gateway.store import jobs
from kubeqpu.qpu_gateway.store.schema import CHUNKS, JOBS

# Stored spans never overlap, so only the last one that starts before a new one's end can reach into
# it; a row that does not come is one that was there. One statement serves many chunks.
_LAST_END = (
    sa.select(CHUNKS.c.first_row + CHUNKS.c.rows)
    .where(
        CHUNKS.c.job_id == sa.bindparam("job_id"),
        CHUNKS.c.entry == sa.bindparam("entry"),
        CHUNKS.c.first_row < sa.bindparam("end_row"),
    )
    .order_by(CHUNKS.c.first_row.desc())
    .limit(1)
    .scalar_subquery()
)
_INSERTED = ("job_id", "entry", "first_row", "rows", "data")
_INSERT_NEW = (
    CHUNKS.insert()
    .from_select(
        _INSERTED,
        sa.select(*(sa.bindparam(name, type_=CHUNKS.c[name].type) for name in _INSERTED)).where(
            sa.func.coalesce(_LAST_END, 0)
            <= sa.bindparam("first_row", type_=CHUNKS.c.first_row.type)
        ),
    )
    # Of an insertion, not every dialect knows it any more when it is asked.
    .execution_options(preserve_rowcount=True)
)


@dataclass(frozen=True)
class StoredChunk:
    """Results of consecutive rows of one entry.

    Attributes:
        span: Which rows.
        data: The serialized ResultChunk.
    """

    span: Span
    data: bytes


def insert_chunks(
    connection: sa.Connection,
    job_id: str,
    chunks: Sequence[StoredChunk],
    qpu_seconds: float,
    now: float,
) -> Job:
    """Stores results; with the last row the job has succeeded, in the same transaction.

    A job that reached a final state meanwhile keeps what it has: nothing is stored.

    Args:
        connection: A connection in a writing transaction.
        job_id: The job.
        chunks: Results of rows that are not stored yet.
        qpu_seconds: How long the QPU was busy to make them.
        now: Seconds since the epoch.

    Returns:
        The job as it is now.

    Raises:
        NotFoundError: If the job does not exist.
        ProviderError: If one of the rows is stored already.
    """
    job = jobs.read_job(connection, job_id, lock=True)
    if job.state.final:
        return job
    values = [
        {
            "job_id": job_id,
            "entry": chunk.span.entry,
            "first_row": chunk.span.first_row,
            "rows": chunk.span.rows,
            "data": chunk.data,
            "end_row": chunk.span.first_row + chunk.span.rows,
        }
        for chunk in chunks
    ]
    inserted = connection.execute(_INSERT_NEW, values)
    if inserted.rowcount != len(chunks):
        raise ProviderError(
            f"The provider returned rows of job {job_id} whose results are stored already; this "
            "is an error of the provider, please report it."
        )
    return _count(connection, job, sum(chunk.span.rows for chunk in chunks), qpu_seconds, now)


def _count(connection: sa.Connection, job: Job, rows: int, qpu_seconds: float, now: float) -> Job:
    finished = job.circuits_finished + rows
    after = replace(
        job,
        state=JobState.SUCCEEDED if finished >= job.circuits else JobState.RUNNING,
        circuits_finished=finished,
        qpu_seconds=job.qpu_seconds + qpu_seconds,
        started_at=now - qpu_seconds if job.started_at is None else job.started_at,
    )
    changes: dict[str, Any] = {
        "state": int(after.state),
        "circuits_finished": finished,
        "qpu_seconds": after.qpu_seconds,
        "started_at": after.started_at,
    }
    if after.state.final:
        changes |= {"finished_at": now, "expires_at": now + JOBS.c.result_ttl_seconds}
    connection.execute(JOBS.update().where(JOBS.c.id == job.id).values(changes))
    return jobs.read_job(connection, job.id) if after.state.final else after


def read_chunks(
    connection: sa.Connection, job_id: str, after: int, max_bytes: int
) -> list[tuple[int, bytes]]:
    """Reads stored chunks in order, at least one if there is one.

    Args:
        connection: A connection.
        job_id: The job.
        after: Sequence number of the last chunk already read; 0 at first.
        max_bytes: Stop when this much was read.

    Returns:
        Pairs of sequence number and serialized ResultChunk.
    """
    query = (
        sa.select(CHUNKS.c.sequence, CHUNKS.c.data)
        .where(CHUNKS.c.job_id == job_id, CHUNKS.c.sequence > after)
        .order_by(CHUNKS.c.sequence)
    )
    found: list[tuple[int, bytes]] = []
    total = 0
    with connection.execute(query, execution_options={"yield_per": 16}) as rows:
        for sequence, data in rows:
            found.append((sequence, data))
            total += len(data)
            if total >= max_bytes:
                break
    return found


def read_spans(connection: sa.Connection, job_id: str) -> list[Span]:
    """Reads which rows of a job are stored."""
    query = sa.select(CHUNKS.c.entry, CHUNKS.c.first_row, CHUNKS.c.rows)
    rows = connection.execute(query.where(CHUNKS.c.job_id == job_id))
    return [Span(*row) for row in rows]
