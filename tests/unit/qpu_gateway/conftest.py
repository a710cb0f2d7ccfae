"""Databases of both kinds, for the tests of the store."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from kubeqpu.qpu_gateway.store.postgresql import PostgreSQLDatabase
from kubeqpu.qpu_gateway.store.sqlite import SQLiteDatabase
from tests.support.postgresql import PostgreSQL
from tests.support.store import OpenDatabase


@pytest.fixture(params=["sqlite", "postgresql"])
def open_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[OpenDatabase]:
    if request.param == "sqlite":
        yield lambda number: SQLiteDatabase(tmp_path / str(number), 2**24)
        return
    server: PostgreSQL = request.getfixturevalue("postgresql")
    url_file = tmp_path / "url"
    url_file.write_text(server.make_database())
    yield lambda number: PostgreSQLDatabase(url_file, f"gateway-{number}")
