"""PostgreSQL's errors by their meaning, and what SQLAlchemy's connections cannot do."""

from enum import Enum, auto
from typing import Any

import psycopg
import sqlalchemy as sa

Driver = psycopg.Connection[tuple[Any, ...]]

# Classes of SQLSTATE by which the server, not the statement, is the trouble: connection, resources
# (too many connections, no memory), an operator's intervention, an error of the system's.
_AWAY_CLASSES = ("08", "53", "57", "58")
_DISK_FULL = "53100"
_READ_ONLY = "25006"
# Serialization failures and deadlocks.
_ROLLED_BACK = "40"
_FORBIDDEN = "42501"


class Trouble(Enum):
    """What an error says about the server."""

    AWAY = auto()
    FULL = auto()
    ROLLED_BACK = auto()
    FORBIDDEN = auto()
    OTHER = auto()


def judge(error: Exception) -> Trouble:
    """Tells what an error of a statement means."""
    if not isinstance(error, sa.exc.DBAPIError):
        return Trouble.OTHER
    state = getattr(error.orig, "sqlstate", None) or ""
    if state == _DISK_FULL:
        return Trouble.FULL
    if error.connection_invalidated or state == _READ_ONLY or state.startswith(_AWAY_CLASSES):
        return Trouble.AWAY
    if state.startswith(_ROLLED_BACK):
        return Trouble.ROLLED_BACK
    return Trouble.FORBIDDEN if state == _FORBIDDEN else Trouble.OTHER


def say(error: sa.exc.DBAPIError) -> str:
    """Gives the server's own words; SQLAlchemy's would bring the statement along."""
    return " ".join(str(error.orig).split())


def get_driver(connection: sa.Connection) -> Driver:
    """Gives psycopg's connection below SQLAlchemy's."""
    driver = connection.connection.driver_connection
    assert isinstance(driver, psycopg.Connection)
    return driver


def execute(connection: sa.Connection, statements: str) -> None:
    """Executes several statements at once, which SQLAlchemy's cursors cannot."""
    driver = get_driver(connection)
    try:
        driver.execute(statements.encode())
    except psycopg.OperationalError as error:
        if driver.closed:
            connection.invalidate(error)
        raise sa.exc.OperationalError(
            None, None, error, connection_invalidated=driver.closed
        ) from error


def drop(connection: sa.Connection) -> None:
    """Closes a connection for good, whatever state it is in."""
    if not connection.invalidated:
        connection.invalidate()
    connection.close()
