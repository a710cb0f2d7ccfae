"""What the store promises, on either database."""

import asyncio
from pathlib import Path

import alembic.autogenerate
import alembic.migration
import pytest

from kubeqpu.qpu_gateway.errors import NotFoundError, ResourceExhaustedError
from kubeqpu.qpu_gateway.jobs import Job, JobState
from kubeqpu.qpu_gateway.providers.base import Span
from kubeqpu.qpu_gateway.settings import ConfigurationError, Limits
from kubeqpu.qpu_gateway.store import Store, StoredChunk
from kubeqpu.qpu_gateway.store.schema import METADATA
from kubeqpu.qpu_gateway.store.sqlite import SQLiteDatabase
from tests.support.store import OpenDatabase, make_job


def test_migrations_lead_to_the_tables_in_the_code(open_database: OpenDatabase) -> None:
    database = open_database(0)
    database.connect_writer().close()
    with database.connect() as connection:
        context = alembic.migration.MigrationContext.configure(connection)
        assert alembic.autogenerate.compare_metadata(context, METADATA) == []
    database.close()


async def test_writes_together_fail_alone(open_database: OpenDatabase) -> None:
    store = Store(open_database(0), Limits(max_tenant_blob_bytes=100, max_blob_bytes=100))
    await store.open()
    # All of them are queued before the first is committed.
    puts = [store.put_blob("a", f"d{number}", b"x" * 40, 60.0) for number in range(5)]
    answers = await asyncio.gather(*puts, return_exceptions=True)
    assert sum(isinstance(answer, float) for answer in answers) == 2
    assert sum(isinstance(answer, ResourceExhaustedError) for answer in answers) == 3
    assert await store.get_blob("a", "d0") == b"x" * 40
    store.close()


async def test_bytes_and_large_numbers_come_back_as_they_went(open_database: OpenDatabase) -> None:
    store = Store(open_database(0), Limits())
    data = bytes(range(256)) * 4096
    await store.put_blob("a", "digest", data, 60.0)
    assert await store.get_blob("a", "digest") == data
    span = Span(2**40, 2**41, 2**42)
    new = make_job(1, "a", "key", circuits=2**50)
    job, _ = await store.insert_job(new)
    assert (job.circuits, job.seed) == (2**50, 2**64 - 1)
    await store.insert_chunks(job.id, [StoredChunk(span, data)], 0.1)
    spec, spans = await store.read_work(job.id)
    assert (spec, spans) == (b"spec", [span])
    _, chunks = await store.read_chunks(job.id, 0, 2**30)
    assert [chunk for _, chunk in chunks] == [data]
    store.close()


async def test_characters_that_not_every_database_takes(open_database: OpenDatabase) -> None:
    store = Store(open_database(0), Limits())
    job, _ = await store.insert_job(make_job(1, "a", "key"))
    for strange in ("\0", "a\0b", "\ud800"):
        with pytest.raises(NotFoundError):
            await store.read_job(strange)
    failed = await store.change_state(job.id, JobState.FAILED, "nul \0, half \ud800, whole ψ")
    assert failed.message == "nul \ufffd, half ?, whole ψ"
    store.close()


async def test_a_submission_that_was_given_up_is_handed_on(open_database: OpenDatabase) -> None:
    store = Store(open_database(0), Limits())
    await store.open()
    unclaimed: asyncio.Queue[Job] = asyncio.Queue()
    store.on_unclaimed = unclaimed.put_nowait
    task = asyncio.create_task(store.insert_job(make_job(1, "a", "key")))
    await asyncio.sleep(0)
    task.cancel()
    job = await asyncio.wait_for(unclaimed.get(), 10)
    assert await store.read_job(job.id) == job
    # One that was there before is somebody's already.
    again = asyncio.create_task(store.insert_job(make_job(2, "a", "key")))
    await asyncio.sleep(0)
    again.cancel()
    await store.insert_job(make_job(3, "a", "other"))
    assert unclaimed.empty()
    store.close()


def test_sqlite_waits_for_the_disk(tmp_path: Path) -> None:
    database = SQLiteDatabase(tmp_path, 2**24)
    with database.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
    database.close()


def test_a_data_directory_serves_one_gateway_at_a_time(tmp_path: Path) -> None:
    database = SQLiteDatabase(tmp_path, 2**24)
    with pytest.raises(ConfigurationError, match="in use by another gateway"):
        SQLiteDatabase(tmp_path, 2**24)
    database.close()
    SQLiteDatabase(tmp_path, 2**24).close()


def test_a_file_in_place_of_the_data_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="may write to"):
        SQLiteDatabase(tmp_path / "file" / "data", 2**24)


def test_a_database_from_the_future_is_refused(open_database: OpenDatabase) -> None:
    database = open_database(0)
    connection = database.connect_writer()
    with connection.begin():
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    database.close()
    with pytest.raises(ConfigurationError, match=r"'9999'.*used by a newer gateway"):
        open_database(0).connect_writer()
