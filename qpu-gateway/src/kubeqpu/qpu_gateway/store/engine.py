"""Opens the database and brings it to the newest schema: the one place that knows the dialect."""

import sqlite3
from pathlib import Path

import alembic.command
import alembic.config
import sqlalchemy as sa

_MIGRATIONS = Path(__file__).parent / "migrations"
_BUSY_TIMEOUT_MILLISECONDS = 30_000


def open_engine(path: Path, max_bytes: int) -> sa.Engine:
    """Opens the SQLite database at a path, which is made if it does not exist.

    Args:
        path: The database file.
        max_bytes: Size at which the database refuses to grow.

    Returns:
        An engine whose commits are on disk when they return, at the newest schema.
    """
    engine = sa.create_engine(f"sqlite:///{path}", poolclass=sa.pool.QueuePool, pool_size=4)

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
    _migrate(engine)
    return engine


def is_full(error: sa.exc.DBAPIError) -> bool:
    """Tells whether a statement failed because the disk, or the database's limit, is full."""
    original = error.orig
    if not isinstance(original, sqlite3.Error):
        return False
    code = getattr(original, "sqlite_errorcode", 0) & 0xFF
    return code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)


def _migrate(engine: sa.Engine) -> None:
    config = alembic.config.Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        config.attributes["connection"] = connection
        alembic.command.upgrade(config, "head")
