"""Gateways that several integration tests share."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from kubeqpu.client import GatewayClient
from tests.integration.gateway_support import Coins, make_settings, serve, wait_started
from tests.support.gateway import GatewayProcess

if TYPE_CHECKING:
    from tests.integration.gateway_support import Stub


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A real gateway with one ideal simulator, `aer`, shared by the tests of a session."""
    directory = tmp_path_factory.mktemp("gateway")
    with GatewayProcess(directory, qpus=[{"name": "aer", "provider": "aer"}]) as process:
        yield process


@pytest.fixture(scope="module")
def client(gateway: GatewayProcess) -> Iterator[GatewayClient]:
    """A client of that gateway whose jobs go to `aer`."""
    with GatewayClient(gateway.address, qpu="aer") as found:
        yield found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def strict_stub(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stub]:
    """A gateway with small limits and three kinds of QPU, shared by the tests of a module."""
    folder = tmp_path_factory.mktemp("gateway")
    limits = {
        "max_circuit_bytes": 200_000,
        "max_job_circuits": 1000,
        "max_job_shots": 1_000_000,
        "max_pauli_terms": 100,
        "max_blob_bytes": 1000,
        "max_tenant_blob_bytes": 1500,
        "max_message_bytes": 2**20,
    }
    qpus = [
        {"name": "ideal", "provider": "aer", "options": {"num_qubits": 6, "max_shots": 100_000}},
        {"name": "coin", "provider": "coin"},
        {"name": "fake", "provider": "fake", "options": {"backend": "FakeManilaV2"}},
    ]
    settings = make_settings(folder, qpus=qpus, limits=limits)
    async with serve(settings, Coins(), workers=True) as (_, stub):
        # Until it has started, a QPU is refused for that and for nothing else.
        await wait_started(stub)
        yield stub
