from collections.abc import Iterator
from pathlib import Path

import pytest

from kubeqpu.client import GatewayClient
from tests.support.memory_gateway import MemoryGateway


@pytest.fixture
def memory_gateway(tmp_path: Path) -> Iterator[MemoryGateway]:
    with MemoryGateway(tmp_path) as gateway:
        yield gateway


@pytest.fixture
def memory_client(memory_gateway: MemoryGateway) -> Iterator[GatewayClient]:
    with GatewayClient(memory_gateway.address, qpu="memory", patience_seconds=10) as client:
        yield client
