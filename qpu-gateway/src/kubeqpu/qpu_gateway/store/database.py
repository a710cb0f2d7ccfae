"""What the store asks of a database; everything that knows a dialect implements it."""

from typing import Protocol

import sqlalchemy as sa


class Database(Protocol):
    """A database at the newest schema, written through one connection at a time.

    `connect` and `connect_writer` raise StoreUnavailableError while the database is away or another
    gateway has it, and ConfigurationError if waiting cannot help.
    """

    def connect(self) -> sa.Connection:
        """Takes a connection that sees one state of the database until it is closed."""

    def connect_writer(self) -> sa.Connection:
        """Opens the one connection that may change the database.

        What it commits is on disk when the commit returns, and no other gateway writes meanwhile.
        """

    def is_last_stored(self) -> bool:
        """Tells whether the last transaction of the writer before this one was committed."""

    def is_lost(self, error: Exception) -> bool:
        """Tells whether an error means that the connection, not the statement, failed."""

    def explain(self, error: Exception) -> Exception:
        """Gives the error to answer with in place of one that a statement raised."""

    def close(self) -> None:
        """Closes every connection and lets another gateway have the database."""
