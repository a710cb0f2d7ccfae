"""SQLite in a data directory: the database of a gateway on its own."""

import fcntl
import os
import sqlite3
from pathlib import Path

import sqlalchemy as sa

from kubeqpu.qpu_gateway.errors import ResourceExhaustedError
from kubeqpu.qpu_gateway.settings import ConfigurationError
from kubeqpu.qpu_gateway.store.migration import migrate

_BUSY_TIMEOUT_MILLISECONDS = 30_000


class SQLiteDatabase:
    """A SQLite database, made if it does not exist.

    Args:
        directory: Where it lives; made if it does not exist. One process at a time.
        max_bytes: Size at which it refuses to grow.

    Raises:
        ConfigurationError: If the directory cannot be used, or another process uses it.
    """

    def __init__(self, directory: Path, max_bytes: int) -> None:
        self._lock = _lock(directory)
        self._engine = _make_engine(directory / "gateway.db", max_bytes)
        self._writing = self._engine.execution_options(writes=True)
        with self._writing.connect() as connection, connection.begin():
            migrate(connection)

    def connect(self) -> sa.Connection:
        """Takes a connection to read with."""
        return self._engine.connect()

    def connect_writer(self) -> sa.Connection:
        """Opens the connection to write with."""
        return self._writing.connect()

    def is_last_stored(self) -> bool:
        """Never in doubt: a file is not lost."""
        return False

    def is_lost(self, error: Exception) -> bool:
        """Never: there is no network in between."""
        return False

    def explain(self, error: Exception) -> Exception:
        """Names a full disk as what it is."""
        if not (isinstance(error, sa.exc.DBAPIError) and _is_full(error)):
            return error
        return ResourceExhaustedError(
            "The gateway's disk is full, so nothing was stored; free space in its data directory, "
            "raise limits.max_database_bytes, or wait until results expire, then try again."
        )

    def close(self) -> None:
        """Closes the database and frees its directory."""
        self._engine.dispose()
        os.close(self._lock)


def _make_engine(path: Path, max_bytes: int) -> sa.Engine:
    engine = sa.create_engine(
        f"sqlite:///{path}", poolclass=sa.pool.QueuePool, pool_size=4, hide_parameters=True
    )

    def prepare(connection: sqlite3.Connection, _: object) -> None:
        # Transactions are begun below, not guessed by the driver.
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout={_BUSY_TIMEOUT_MILLISECONDS}")
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=FULL")
        (page_size,) = cursor.execute("PRAGMA page_size").fetchone()
        cursor.execute(f"PRAGMA max_page_count={max(1, max_bytes // page_size)}")
        cursor.close()

    def begin(connection: sa.Connection) -> None:
        # Writers take the lock at once: a read that turns into a write could not wait for it.
        writes = connection.get_execution_options().get("writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    sa.event.listen(engine, "connect", prepare)
    sa.event.listen(engine, "begin", begin)
    return engine


def _is_full(error: sa.exc.DBAPIError) -> bool:
    original = error.orig
    if not isinstance(original, sqlite3.Error):
        return False
    code = getattr(original, "sqlite_errorcode", 0) & 0xFF
    return code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)


def _lock(directory: Path) -> int:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock = os.open(directory / "gateway.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigurationError(
            f"Data directory {directory} cannot be used ({error.strerror}); name a directory the "
            "gateway may write to."
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        raise ConfigurationError(
            f"Data directory {directory} is in use by another gateway; give each gateway its own."
        ) from error
    return lock
