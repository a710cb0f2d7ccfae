"""The store on a PostgreSQL that goes away, at the worst moments."""

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from kubeqpu.qpu_gateway.errors import ResourceExhaustedError, StoreUnavailableError
from kubeqpu.qpu_gateway.jobs import Job, JobState
from kubeqpu.qpu_gateway.providers.base import Span
from kubeqpu.qpu_gateway.settings import ConfigurationError, Limits
from kubeqpu.qpu_gateway.store import Store, StoredChunk
from kubeqpu.qpu_gateway.store.postgresql import PostgreSQLDatabase
from kubeqpu.qpu_gateway.store.postgresql_url import hide_password
from tests.support.postgresql import PASSWORD, PostgreSQL
from tests.support.store import ROWS, make_job
from tests.support.wire import Wire


@pytest.fixture
def url_file(postgresql: PostgreSQL, tmp_path: Path) -> Path:
    path = tmp_path / "url"
    path.write_text(f"{postgresql.make_database()}\n")
    return path


def database_name(url_file: Path) -> str:
    return url_file.read_text().strip().rpartition("/")[2]


def move_port(url_file: Path, port: int) -> None:
    """Lets a URL lead through a wire."""
    before, _, database = url_file.read_text().strip().rpartition("/")
    url_file.write_text(f"{before.rpartition(':')[0]}:{port}/{database}")


@asynccontextmanager
async def opened(url_file: Path, gateway: str = "lab") -> AsyncIterator[Store]:
    store = Store(PostgreSQLDatabase(url_file, gateway), Limits())
    try:
        await asyncio.wait_for(store.open(), 20)
        yield store
    finally:
        await asyncio.to_thread(store.close)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        (f"mysql://u:{PASSWORD}@db/x", "is not PostgreSQL's"),
        (f"host=db password={PASSWORD}", "is not PostgreSQL's"),
        ("", "is not PostgreSQL's"),
        (f"postgresql://u:{PASSWORD}%zz@db/x", "is malformed"),
        (f"postgresql://u:p@{PASSWORD}@db/x", "is malformed"),
        (f"postgresql://u:{PASSWORD}/x@db/x", "is malformed"),
        (f"postgresql://u:{PASSWORD}@[::1/x", "is malformed"),
        (f"postgresql://u:{PASSWORD}@db:port/x", "is malformed"),
        (f"postgresql://u:{PASSWORD}@db/x?nonsense=1", "is malformed"),
        (f"postgresql://u:{PASSWORD}@/x", "names no host"),
        (f"postgresql://u:{PASSWORD}@db", "names no database"),
    ],
)
def test_a_wrong_url_is_refused_without_its_password(tmp_path: Path, url: str, words: str) -> None:
    (tmp_path / "url").write_text(url)
    with pytest.raises(ConfigurationError) as refused:
        PostgreSQLDatabase(tmp_path / "url", "lab")
    message = str(refused.value)
    assert f"The URL in {tmp_path / 'url'} {words}: expected postgresql://" in message
    assert PASSWORD not in message
    assert refused.value.__cause__ is None
    with pytest.raises(ConfigurationError, match=r"cannot be read .*key `url` of a Secret"):
        PostgreSQLDatabase(tmp_path / "missing", "lab")


def test_a_password_is_hidden_in_what_others_say() -> None:
    said = hide_password("no pass-word\nhere:  pass-word!", {"password": "pass-word"})
    assert said == "no *** here: ***!"


async def test_a_wrong_password_is_waited_for_until_it_is_right(
    postgresql: PostgreSQL, tmp_path: Path
) -> None:
    url = postgresql.make_database()
    (tmp_path / "url").write_text(url.replace(PASSWORD, "wrong-password"))
    with capture_logs() as logs:
        store = Store(PostgreSQLDatabase(tmp_path / "url", "lab"), Limits())
        opening = asyncio.create_task(store.open())
        await asyncio.sleep(0.5)
        assert not opening.done()
        (tmp_path / "url").write_text(url)
        await asyncio.wait_for(opening, 10)
    assert "password authentication failed" in logs[0]["reason"]
    assert "wrong-password" not in str(logs)
    store.close()


async def test_a_user_without_rights_is_told_which(postgresql: PostgreSQL, tmp_path: Path) -> None:
    url = postgresql.make_database()
    postgresql.execute(f"CREATE ROLE guest LOGIN PASSWORD '{PASSWORD}'")
    (tmp_path / "url").write_text(url.replace("kubeqpu:", "guest:"))
    with pytest.raises(ConfigurationError, match=r"make or use schema kubeqpu_lab .*make its user"):
        async with opened(tmp_path / "url"):
            pass
    # A schema that an administrator made is enough.
    postgresql.execute("CREATE SCHEMA kubeqpu_lab AUTHORIZATION guest", url)
    async with opened(tmp_path / "url") as store:
        await store.insert_job(make_job(1, "a", "key"))


def test_commits_wait_for_the_disk_whatever_the_server_prefers(
    postgresql: PostgreSQL, url_file: Path
) -> None:
    name = database_name(url_file)
    for chosen, expected in (("off", "on"), ("local", "on"), ("remote_apply", "remote_apply")):
        postgresql.execute(f"ALTER DATABASE {name} SET synchronous_commit = {chosen}")
        database = PostgreSQLDatabase(url_file, "lab")
        connection = database.connect_writer()
        assert connection.exec_driver_sql("SHOW synchronous_commit").scalar_one() == expected
        connection.close()
        database.close()


async def test_a_second_gateway_waits_and_says_for_whom(url_file: Path) -> None:
    first = Store(PostgreSQLDatabase(url_file, "lab", "lab-0"), Limits())
    await first.open()
    with capture_logs() as logs:
        second = Store(PostgreSQLDatabase(url_file, "lab", "lab-1"), Limits())
        opening = asyncio.create_task(second.open())
        with pytest.raises(StoreUnavailableError, match="one process at a time"):
            await second.insert_job(make_job(1, "a", "key"))
        assert not opening.done()
        # Another gateway is no second of this one.
        async with opened(url_file, "other") as other:
            await other.insert_job(make_job(1, "a", "key"))
        await first.insert_job(make_job(1, "a", "key"))
        await asyncio.to_thread(first.close)
        await asyncio.wait_for(opening, 10)
    assert "in use by 'kubeqpu-gateway lab-0' from 127.0.0.1" in logs[0]["reason"]
    assert (await second.insert_job(make_job(2, "a", "key")))[1] is False
    await asyncio.to_thread(second.close)


async def test_a_gateway_whose_database_was_taken_over_stores_nothing_more(
    postgresql: PostgreSQL, url_file: Path
) -> None:
    async with opened(url_file) as first:
        second = Store(PostgreSQLDatabase(url_file, "lab"), Limits())
        opening = asyncio.create_task(second.open())
        await asyncio.sleep(0.3)
        postgresql.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'"
        )
        await asyncio.wait_for(opening, 10)
        await asyncio.to_thread(second.close)
        for _ in range(2):
            with pytest.raises(StoreUnavailableError, match="taken this one's database over"):
                await first.insert_job(make_job(1, "a", "key"))


async def test_connections_that_are_cut_while_idle_cost_no_call(
    postgresql: PostgreSQL, url_file: Path
) -> None:
    async with opened(url_file) as store:
        await store.insert_job(make_job(1, "a", "k1"))
        await store.read_job(make_job(1, "a", "k1").id)
        postgresql.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name LIKE 'kubeqpu-gateway%'"
        )
        await store.insert_job(make_job(2, "a", "k2"))
        assert (await store.read_job(make_job(1, "a", "k1").id)).state is JobState.QUEUED


@pytest.mark.parametrize("arrives", [True, False], ids=["committed", "rolled back"])
@pytest.mark.parametrize("together", [1, 3])
async def test_a_commit_without_an_answer_is_neither_lost_nor_repeated(
    postgresql: PostgreSQL, url_file: Path, arrives: bool, together: int
) -> None:
    async with Wire(postgresql.port) as wire:
        move_port(url_file, wire.port)
        async with opened(url_file) as store:
            job, _ = await store.insert_job(make_job(1, "a", "k1"))
            chunks = [StoredChunk(Span(0, row, 1), b"%d" % row) for row in range(ROWS)]
            wire.cut_at(b"COMMIT", arrives=arrives)
            saves = [store.insert_chunks(job.id, [chunk], 0.1) for chunk in chunks[:together]]
            await asyncio.gather(*saves)
            assert wire.cuts == 1
            wire.cut_at(b"COMMIT", arrives=arrives)
            new, is_new = await store.insert_job(make_job(2, "a", "k2"))
            assert wire.cuts == 2
            assert is_new
            assert (new, False) == await store.insert_job(make_job(3, "a", "k2"))
            job, stored = await store.read_chunks(job.id, 0, 2**20)
            assert [data for _, data in stored] == [chunk.data for chunk in chunks[:together]]
            assert job.circuits_finished == together


@pytest.mark.parametrize("arrives", [True, False], ids=["committed", "rolled back"])
async def test_while_the_database_is_away_results_wait_and_others_are_told(
    postgresql: PostgreSQL, url_file: Path, arrives: bool
) -> None:
    async with Wire(postgresql.port) as wire:
        move_port(url_file, wire.port)
        async with opened(url_file) as store:
            unclaimed: list[Job] = []
            store.on_unclaimed = unclaimed.append
            job, _ = await store.insert_job(make_job(1, "a", "k1"))
            wire.cut_at(b"COMMIT", arrives=arrives, stay_away=True)
            chunk = StoredChunk(Span(0, 0, 1), b"result")
            save = asyncio.create_task(store.insert_chunks(job.id, [chunk], 0.1))
            submission = asyncio.create_task(store.insert_job(make_job(2, "a", "k2")))
            with pytest.raises(StoreUnavailableError, match="what was acknowledged is kept"):
                await submission
            with pytest.raises(StoreUnavailableError):
                await store.read_job(job.id)
            work = asyncio.create_task(store.read_work(job.id))
            await asyncio.sleep(0.3)
            assert not save.done()
            assert not work.done()
            wire.come_back()
            assert (await asyncio.wait_for(save, 20)).circuits_finished == 1
            assert (await asyncio.wait_for(work, 20))[0] == b"spec"
            assert (await store.read_work(job.id))[1] == [chunk.span]
            # The refused submission may be stored, and then somebody hears of it.
            stored = {item.idempotency_key for item in await store.list_unfinished()}
            assert stored == {"k1", *(item.idempotency_key for item in unclaimed)}


async def test_a_full_disk_of_the_server_is_named_and_survived(
    postgresql: PostgreSQL, url_file: Path, tmp_path: Path
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    disk = postgresql.folder / "small"
    disk.mkdir(exist_ok=True)
    mounted = subprocess.run(  # noqa: ASYNC221
        ["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(disk)],
        check=False,
        capture_output=True,
    )
    if mounted.returncode != 0:
        pytest.skip(f"this machine mounts no small disk: {mounted.stderr.decode().strip()}")
    name = database_name(url_file)
    try:
        postgresql.execute(f"CREATE TABLESPACE small LOCATION '{disk}'")
        postgresql.execute(f"ALTER DATABASE {name} SET TABLESPACE small")
        async with opened(url_file) as store:
            error, stored = None, 0
            while error is None and stored < 60:
                try:
                    await store.put_blob("a", f"d{stored}", os.urandom(200_000), 60.0)
                    stored += 1
                except ResourceExhaustedError as refused:
                    error = refused
            assert stored > 3
            assert "disk of the gateway's database is full" in str(error)
            assert len(await store.get_blob("a", "d0")) == 200_000
    finally:
        postgresql.execute(f"DROP DATABASE {name}")
        postgresql.execute("DROP TABLESPACE small")
        subprocess.run(["umount", str(disk)], check=True)  # noqa: ASYNC221
