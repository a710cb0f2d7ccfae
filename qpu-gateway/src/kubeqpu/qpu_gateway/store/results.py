"""Statements on results. Every function works inside the caller's transaction."""

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from kubeqpu.qpu_gateway.errors import ProviderError
from kubeqpu.qpu_gateway.jobs import Job, JobState
from kubeqpu.qpu_gateway.providers.base import Span
from kubeqpu.qpu_gateway.store import jobs
from kubeqpu.qpu_gateway.store.schema import CHUNKS, JOBS


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
    finished = job.circuits_finished
    for chunk in chunks:
        _check_new(connection, job_id, chunk.span)
        connection.execute(
            CHUNKS.insert(),
            {
                "job_id": job_id,
                "entry": chunk.span.entry,
                "first_row": chunk.span.first_row,
                "rows": chunk.span.rows,
                "data": chunk.data,
            },
        )
        finished += chunk.span.rows
    connection.execute(
        JOBS.update()
        .where(JOBS.c.id == job_id)
        .values(circuits_finished=finished, qpu_seconds=JOBS.c.qpu_seconds + qpu_seconds)
    )
    job = jobs.read_job(connection, job_id)
    if finished < job.circuits:
        return job
    return jobs.change_state(connection, job, JobState.SUCCEEDED, "", now)


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


def _check_new(connection: sa.Connection, job_id: str, span: Span) -> None:
    # Stored spans never overlap, so only the last one that starts before this one's end can.
    query = (
        sa.select(CHUNKS.c.first_row, CHUNKS.c.rows)
        .where(
            CHUNKS.c.job_id == job_id,
            CHUNKS.c.entry == span.entry,
            CHUNKS.c.first_row < span.first_row + span.rows,
        )
        .order_by(CHUNKS.c.first_row.desc())
        .limit(1)
    )
    row = connection.execute(query).one_or_none()
    if row is not None and row.first_row + row.rows > span.first_row:
        raise ProviderError(
            f"The provider returned rows {span.first_row} to {span.first_row + span.rows - 1} of "
            f"entry {span.entry} of job {job_id}, of which some are stored already; this is an "
            "error of the provider, please report it."
        )
