"""Chooses the gateway's database by its settings."""

from kubeqpu.qpu_gateway.settings import GatewaySettings
from kubeqpu.qpu_gateway.store.database import Database
from kubeqpu.qpu_gateway.store.sqlite import SQLiteDatabase

_GATEWAY = "default"


def choose_database(settings: GatewaySettings) -> Database:
    """Makes the database that the settings name: PostgreSQL if there is a URL, else SQLite.

    Raises:
        ConfigurationError: If the data directory or the URL cannot be used.
    """
    if settings.database_url_file is None:
        return SQLiteDatabase(settings.data_dir, settings.limits.max_database_bytes)
    # Its driver takes time to load and is of no use to others.
    from kubeqpu.qpu_gateway.store.postgresql import PostgreSQLDatabase  # noqa: PLC0415

    gateway = _GATEWAY if settings.cluster is None else settings.cluster.gateway
    return PostgreSQLDatabase(settings.database_url_file, gateway, settings.pod_name)
