"""Brings a database to the newest schema."""

from pathlib import Path

import alembic.command
import alembic.config
import alembic.util
import sqlalchemy as sa

from kubeqpu.qpu_gateway.settings import ConfigurationError

_MIGRATIONS = Path(__file__).parent / "migrations"


def migrate(connection: sa.Connection) -> None:
    """Runs the migrations that a database lacks, in the caller's transaction.

    Raises:
        ConfigurationError: If the database is newer than this gateway.
    """
    config = alembic.config.Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    try:
        alembic.command.upgrade(config, "head")
    except alembic.util.CommandError as error:
        raise ConfigurationError(
            f"The database cannot be brought to this gateway's schema ({error}); it was probably "
            "used by a newer gateway. Run that version, or give this one a database of its own."
        ) from error
