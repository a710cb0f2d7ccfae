"""What tests of several folders share."""

import os
from collections.abc import Iterator

import pytest

from tests.support.postgresql import PostgreSQL, missing


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    """A real PostgreSQL for the tests of a session, which take databases of their own."""
    reason = missing()
    if reason is not None:
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    with PostgreSQL() as server:
        yield server
