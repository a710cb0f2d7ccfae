"""PostgreSQL: a database that outlives the gateway's node.

Each gateway has a schema of its own, so several can share a database. The right to write is an
advisory lock that the writing connection itself holds: whoever lost the connection lost the right,
and nothing can be committed without it.
"""

import functools
import uuid
import zlib
from collections.abc import Mapping
from pathlib import Path

import psycopg
import sqlalchemy as sa
import structlog
from psycopg.conninfo import make_conninfo

from kubeqpu.qpu_gateway.errors import (
    ResourceExhaustedError,
    StoreTakenOverError,
    StoreUnavailableError,
)
from kubeqpu.qpu_gateway.settings import ConfigurationError
from kubeqpu.qpu_gateway.store.availability import Availability
from kubeqpu.qpu_gateway.store.migration import migrate
from kubeqpu.qpu_gateway.store.postgresql_driver import (
    Driver,
    Trouble,
    drop,
    execute,
    get_driver,
    judge,
    say,
)
from kubeqpu.qpu_gateway.store.postgresql_url import hide_password, read_parameters
from kubeqpu.qpu_gateway.store.schema import WRITERS

_LOG = structlog.get_logger(__name__)

_READERS = 2
# "kubeqpu": the first half of the advisory lock's key; the second is made of the schema's name.
_LOCK_CLASS = zlib.crc32(b"kubeqpu") & 0x7FFFFFFF
_MOST_NAME_CHARACTERS = 63

# A weaker choice of the server's would lose what was acknowledged; a stronger one is kept. The
# server must notice within seconds that a gateway is gone, for it holds the lock until then.
_PREPARE = """
SELECT set_config('search_path', %(schema)s, false),
       set_config('synchronous_commit', CASE
           WHEN current_setting('synchronous_commit') IN ('off', 'local') THEN 'on'
           ELSE current_setting('synchronous_commit') END, false),
       set_config('tcp_keepalives_idle', '10', false),
       set_config('tcp_keepalives_interval', '5', false),
       set_config('tcp_keepalives_count', '3', false)
"""
_TRY_LOCK = sa.text("SELECT pg_try_advisory_lock(:class, :key)")
_TERMINATE = sa.text("SELECT pg_terminate_backend(:pid, 3000)")
_HOLDER = sa.text("""
SELECT activity.pid, activity.application_name, host(activity.client_addr)
FROM pg_locks JOIN pg_stat_activity AS activity USING (pid)
WHERE locktype = 'advisory' AND granted AND classid = :class AND objid = :key AND objsubid = 2
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
""")


class PostgreSQLDatabase:
    """A schema in a PostgreSQL database, made if it does not exist.

    How large it may grow is the server's business.

    Args:
        url_file: File with the database's URL, read again at every connection.
        gateway: Name of the gateway, which names the schema.
        client: How the server's list of connections shows this process.

    Raises:
        ConfigurationError: If the file holds no usable URL. Nothing is connected to yet.
    """

    def __init__(self, url_file: Path, gateway: str, client: str = "") -> None:
        self._url_file = url_file
        self._schema = f"kubeqpu_{gateway.replace('-', '_')}"
        self._client = f"kubeqpu-gateway {client or gateway}"[:_MOST_NAME_CHARACTERS]
        self._keys = {"class": _LOCK_CLASS, "key": zlib.crc32(self._schema.encode()) & 0x7FFFFFFF}
        self._id = uuid.uuid4().hex
        self._number = 0
        self._stored_number = 0
        self._opened = False
        self._taken_over = False
        self._backend: int | None = None
        read_parameters(url_file)
        self._readers = Availability("reading")
        self._writers = Availability("writing")
        self._reading = self._make_engine(
            self._readers, poolclass=sa.pool.QueuePool, pool_size=_READERS, max_overflow=0
        )
        # A connection that holds the lock must never come back from a pool as another's.
        self._writing = self._make_engine(self._writers, poolclass=sa.pool.NullPool)

    def connect(self) -> sa.Connection:
        """Takes a connection to read with.

        Raises:
            StoreUnavailableError: If the database is away.
        """
        return self._reading.connect()

    def connect_writer(self) -> sa.Connection:
        """Opens the connection to write with, which holds the gateway's lock.

        The first time, the schema is made or brought to the newest version.

        Raises:
            StoreUnavailableError: If the database is away, or another gateway has it.
            StoreTakenOverError: If another gateway had it meanwhile.
            ConfigurationError: If the database can never be used like this.
        """
        if self._taken_over:
            raise _taken_over_error()
        connection = self._writing.connect()
        try:
            with connection.begin():
                self._lock(connection)
                if self._opened:
                    self._check_registration(connection)
                else:
                    self._open(connection)
            self._backend = get_driver(connection).info.backend_pid
            self._opened = True
        except sa.exc.DBAPIError as error:
            drop(connection)
            raise self._explain_opening(error) from error
        except BaseException:
            drop(connection)
            raise
        self._writers.succeed()
        return connection.execution_options(writes=True)

    def is_last_stored(self) -> bool:
        """Tells whether the last transaction begun before the newest `connect_writer` is there."""
        return self._number > 0 and self._stored_number == self._number

    def is_lost(self, error: Exception) -> bool:
        """Tells whether the connection or the server failed, and not the statement."""
        return judge(error) is Trouble.AWAY

    def explain(self, error: Exception) -> Exception:
        """Gives the sentence for what the server reported."""
        match judge(error):
            case Trouble.FULL:
                return ResourceExhaustedError(
                    "The disk of the gateway's database is full, so nothing was stored; free space "
                    "there, or wait until results expire, then try again."
                )
            case Trouble.AWAY | Trouble.ROLLED_BACK:
                return _away_error()
        return error

    def close(self) -> None:
        """Closes all connections."""
        self._reading.dispose()
        self._writing.dispose()

    def _make_engine(self, availability: Availability, **pool: object) -> sa.Engine:
        engine = sa.create_engine(
            "postgresql+psycopg://",
            creator=functools.partial(self._connect, availability),
            # Circuits and keys are not for logs.
            hide_parameters=True,
            **pool,
        )
        sa.event.listen(engine, "begin", self._begin)
        return engine

    def _begin(self, connection: sa.Connection) -> None:
        options = connection.get_execution_options()
        if options.get("writes"):
            # One round trip for both. The number tells after a lost connection whether the
            # transaction was committed: it changes with it, or not at all.
            self._number += 1
            execute(
                connection,
                f"BEGIN; UPDATE {WRITERS.name} SET transactions = {self._number} "  # noqa: S608
                f"WHERE id = '{self._id}'",
            )
        elif connection.engine is self._reading:
            execute(connection, "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        else:
            execute(connection, "BEGIN")

    def _connect(self, availability: Availability) -> Driver:
        """Opens a connection, unless one failed a moment ago."""
        availability.check()
        parameters: Mapping[str, str] = {}
        try:
            parameters = read_parameters(self._url_file)
            driver = self._open_driver({"application_name": self._client, **parameters})
        except ConfigurationError as error:
            if not self._opened:
                raise
            raise availability.fail(str(error), _away_error()) from None
        except psycopg.OperationalError as error:
            reason = hide_password(str(error), parameters)
            raise availability.fail(reason, _away_error()) from None
        if availability is self._readers:
            availability.succeed()
        return driver

    def _open_driver(self, parameters: Mapping[str, str]) -> Driver:
        # Transactions are begun above, not guessed by the driver.
        driver: Driver = psycopg.connect(make_conninfo(**parameters), autocommit=True)
        try:
            driver.execute(_PREPARE, {"schema": self._schema})
        except BaseException:
            driver.close()
            raise
        return driver

    def _lock(self, connection: sa.Connection) -> None:
        if connection.execute(_TRY_LOCK, self._keys).scalar_one():
            return
        holder = connection.execute(_HOLDER, self._keys).first()
        if holder is not None and holder[0] == self._backend:
            # This gateway's own, whose end the server has not noticed. It is waited for, because a
            # transaction in it may yet be committed.
            self._backend = None
            connection.execute(_TERMINATE, {"pid": holder[0]})
            self._lock(connection)
            return
        name = "another gateway" if holder is None else f"{holder[1] or 'somebody'!r}"
        where = "" if holder is None or holder[2] is None else f" from {holder[2]}"
        reason = (
            f"Schema {self._schema} of the database is in use by {name}{where}, and one process at "
            "a time may serve it: this one waits until the other ends. If both are meant to run, "
            "give them different names or databases."
        )
        raise self._writers.fail(reason, StoreUnavailableError(f"{reason} Send this again later."))

    def _open(self, connection: sa.Connection) -> None:
        there = sa.text("SELECT 1 FROM pg_namespace WHERE nspname = :name")
        if connection.execute(there, {"name": self._schema}).first() is None:
            connection.execute(sa.schema.CreateSchema(self._schema))
        migrate(connection)
        connection.execute(WRITERS.delete())
        connection.execute(WRITERS.insert(), {"id": self._id, "transactions": 0})
        if connection.exec_driver_sql("SHOW fsync").scalar_one() == "off":
            _LOG.warning("Database forgets in a crash what it acknowledged", fsync="off")
        _LOG.info("Database opened", schema=self._schema)

    def _check_registration(self, connection: sa.Connection) -> None:
        mine = sa.select(WRITERS.c.transactions).where(WRITERS.c.id == self._id)
        found = connection.execute(mine).scalar_one_or_none()
        if found is None:
            self._taken_over = True
            _LOG.error("Another gateway took the database over", schema=self._schema)
            raise _taken_over_error()
        self._stored_number = found

    def _explain_opening(self, error: sa.exc.DBAPIError) -> Exception:
        match judge(error):
            case Trouble.FORBIDDEN:
                return ConfigurationError(
                    "The database does not let the gateway make or use schema "
                    f"{self._schema} ({say(error)}); make its user the owner of the database, or "
                    "of a schema of that name."
                )
            case Trouble.AWAY:
                return self._writers.fail(say(error), _away_error())
        return self.explain(error)


def _away_error() -> StoreUnavailableError:
    return StoreUnavailableError(
        "The gateway's database is away; what was acknowledged is kept. Send this again in a "
        "moment: a submission with the same idempotency key stays the same job."
    )


def _taken_over_error() -> StoreTakenOverError:
    return StoreTakenOverError(
        "Another gateway has taken this one's database over, so this one stores nothing more and "
        "has to be restarted. Send this again to the other."
    )
