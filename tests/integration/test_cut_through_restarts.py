"""A cut circuit through a real gateway: repeatable to the byte, whatever is killed meanwhile."""

import random
import threading
import time
from pathlib import Path

import pytest
from qiskit import QuantumCircuit

from kubeqpu.client import GatewayClient
from kubeqpu.cutting import Plan, plan, run
from kubeqpu.cutting.gateway import GatewayExecutor
from kubeqpu.cutting.provenance import to_json
from tests.support.gateway import GatewayProcess

QPUS: list[dict[str, object]] = [
    {"name": "nairobi", "provider": "fake", "options": {"backend": "FakeNairobiV2"}},
    {"name": "jakarta", "provider": "fake", "options": {"backend": "FakeJakartaV2"}},
    {"name": "ideal", "provider": "aer"},
]
SEED, SHOTS = 11, 60_000


@pytest.fixture
def short_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cut")


@pytest.fixture(scope="module")
def chain() -> Plan:
    circuit = QuantumCircuit(8)
    for step in range(2):
        circuit.rx(0.7 + step, range(8))
        for left in [*range(0, 7, 2), *range(1, 7, 2)]:
            circuit.rzz(0.4, left, left + 1)
    return plan(circuit, ["Z0 Z7", "Z3 Z4"], max_qubits=4)


def run_on(gateway: GatewayProcess, cut: Plan, qpus: list[str]) -> bytes:
    with GatewayClient(gateway.address, patience_seconds=60) as client:
        executor = GatewayExecutor(client, qpus=qpus)
        return to_json(run(cut, executor, shots=SHOTS, seed=SEED).provenance, timing=False)


@pytest.mark.slow
@pytest.mark.parametrize("qpus", [["nairobi", "jakarta"], ["ideal"]], ids=["noisy", "ideal"])
def test_the_same_seed_gives_the_same_document_through_kills(
    short_path: Path, chain: Plan, qpus: list[str]
) -> None:
    settings = {"batch_seconds": 0.05}
    gateway = GatewayProcess(short_path, QPUS, settings)
    with gateway:
        undisturbed = run_on(gateway, chain, qpus)
        repeated = run_on(gateway, chain, qpus)
    assert repeated == undisturbed

    documents: list[bytes] = []
    gateway.start()
    worker = threading.Thread(target=lambda: documents.append(run_on(gateway, chain, qpus)))
    worker.start()
    moments = random.Random(3)
    kills = 0
    while worker.is_alive() and kills < 5:
        time.sleep(moments.uniform(0.05, 0.6))
        gateway.kill()
        gateway.start()
        kills += 1
    worker.join(timeout=90)
    gateway.stop()
    assert kills
    assert documents == [undisturbed]
