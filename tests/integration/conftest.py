from collections.abc import Iterator

import pytest

from tests.support.gateway import GatewayProcess


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A real gateway with one ideal simulator, `aer`, shared by the tests of a session."""
    directory = tmp_path_factory.mktemp("gateway")
    with GatewayProcess(directory, qpus=[{"name": "aer", "provider": "aer"}]) as process:
        yield process
