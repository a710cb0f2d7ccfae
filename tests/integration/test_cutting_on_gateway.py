"""Cut circuits through a real gateway: exact, sampled, on noisy devices, and after a restart."""

import json
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pytest
from qiskit.circuit import QuantumCircuit
from qiskit.quantum_info import Statevector
from qiskit_addon_cutting.instructions import CutWire

from kubeqpu.client import GatewayClient
from kubeqpu.cutting import ExecutionError, Plan, plan, run
from kubeqpu.cutting.gateway import GatewayExecutor
from kubeqpu.cutting.provenance import to_json
from tests.support.gateway import GatewayProcess


@pytest.fixture(scope="module")
def client(gateway: GatewayProcess) -> Iterator[GatewayClient]:
    with GatewayClient(gateway.address) as found:
        yield found


@pytest.fixture(scope="module")
def noisy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayClient]:
    """Three small noisy devices with different queues."""
    qpus = [
        {
            "name": f"fake-{pending}",
            "provider": "fake",
            "options": {
                "backend": "FakeFez",
                "num_qubits": width,
                "queue": {"pending": pending, "service_seconds": 30.0},
                # Readout errors of several percent and hardly any others.
                "calibration": {"scale_readout": 12.0, "scale_two_qubit": 0.05},
            },
        }
        for pending, width in ((0, 3), (2, 4), (5, 4))
    ]
    directory = tmp_path_factory.mktemp("noisy")
    with (
        GatewayProcess(directory, qpus=qpus) as process,
        GatewayClient(process.address) as found,
    ):
        yield found


def ising_chain(width: int, steps: int = 1) -> QuantumCircuit:
    circuit = QuantumCircuit(width)
    for _ in range(steps):
        circuit.ry(0.6, range(width))
        for qubit in range(width - 1):
            circuit.rzz(0.5, qubit, qubit + 1)
        circuit.rx(0.4, range(width))
    return circuit


OBSERVABLES = ["Z0 Z7", "Z3 Z4", "X0 + 0.5 Z1 Z2"]


@pytest.fixture(scope="module")
def chain() -> Plan:
    return plan(ising_chain(8, 2), OBSERVABLES, 3, finder_seconds=0)


def test_exact_values_agree_with_the_uncut_circuit(client: GatewayClient, chain: Plan) -> None:
    uncut = plan(ising_chain(8, 2), OBSERVABLES, 8)
    cut = run(chain, GatewayExecutor(client), exact=True)
    whole = run(uncut, GatewayExecutor(client), exact=True)
    np.testing.assert_allclose(cut.values, whole.values, atol=1e-10)
    # And the uncut ones with an independent calculation.
    state = Statevector(ising_chain(8, 2))
    probabilities = state.probabilities([0, 7])
    assert whole.values[0] == pytest.approx(probabilities @ [1, -1, -1, 1], abs=1e-10)


def test_sampled_values_lie_within_their_error_bars(client: GatewayClient, chain: Plan) -> None:
    exact = run(chain, GatewayExecutor(client), exact=True).values
    results = [run(chain, GatewayExecutor(client), shots=100_000, seed=seed) for seed in range(12)]
    scores = np.array([(item.values - exact) / item.standard_errors for item in results])
    assert np.abs(scores).max() < 4
    assert 0.6 < scores.std() < 1.4


def test_same_seed_gives_the_same_bytes(client: GatewayClient, chain: Plan) -> None:
    first, second, other = (
        run(chain, GatewayExecutor(client), shots=50_000, seed=seed) for seed in (5, 5, 6)
    )
    same = to_json(first.provenance, timing=False)
    assert same == to_json(second.provenance, timing=False)
    assert same != to_json(other.provenance, timing=False)
    assert b"submitted_at" in to_json(first.provenance)
    assert b"submitted_at" not in same


def test_wire_cuts_run_through_the_gateway(client: GatewayClient) -> None:
    circuit = QuantumCircuit(5)
    circuit.ry(0.7, range(5))
    for qubit in range(4):
        if qubit in (1, 3):
            circuit.append(CutWire(), [qubit])
        circuit.cx(qubit, qubit + 1)
        circuit.ry(0.3 * qubit + 0.2, [qubit, qubit + 1])
    made = plan(circuit, ["Z0 Z4", "X4", "Z2"], 3)
    assert {cut.name for cut in made.cuts} == {"wire"}
    exact = run(made, GatewayExecutor(client), exact=True)
    sampled = run(made, GatewayExecutor(client), shots=200_000, seed=2)
    assert (np.abs(sampled.values - exact.values) < 4.5 * sampled.standard_errors).all()


def test_progress_counts_every_row(client: GatewayClient, chain: Plan) -> None:
    seen: dict[int, tuple[int, int]] = {}

    def note(fragment: int, done: int, total: int) -> None:
        assert done >= seen.get(fragment, (0, total))[0] or done <= total
        seen[fragment] = (done, total)

    run(chain, GatewayExecutor(client, progress=note), shots=50_000, seed=1, pilot=0.0)
    assert sorted(seen) == list(range(len(chain.fragments)))
    assert all(done == total for done, total in seen.values())


def test_a_run_id_finds_earlier_jobs_again(client: GatewayClient, chain: Plan) -> None:
    before = len(list(client.list_jobs()))
    first = run(chain, GatewayExecutor(client, run_id="night"), shots=50_000, seed=1)
    middle = len(list(client.list_jobs()))
    second = run(chain, GatewayExecutor(client, run_id="night"), shots=50_000, seed=1)
    assert len(list(client.list_jobs())) == middle > before
    assert to_json(first.provenance) == to_json(second.provenance)


def test_fragments_go_to_different_noisy_devices(noisy: GatewayClient) -> None:
    made = plan(ising_chain(9), ["Z0 Z8", "Z4"], [3, 4, 4], finder_seconds=0)
    result = run(made, GatewayExecutor(noisy), shots=60_000, seed=3)
    document = json.loads(to_json(result.provenance))
    fragments = document["fragments"]
    assert {part["qpu"] for part in fragments} == {"fake-0", "fake-2", "fake-5"}
    for index, fragment in enumerate(made.fragments):
        part = fragments[index]
        (execution,) = part["executions"]
        assert execution["calibration_id"]
        assert len(set(execution["layout"])) >= fragment.num_qubits
        assert part["qpu"] in document["timing"][f"fragment-{index}"]["why"]
        assert not part["deferred_measurement"]
    np.testing.assert_allclose(result.values, ideal_values(), atol=0.2)


def ideal_values() -> npt.NDArray[np.float64]:
    state = Statevector(ising_chain(9))
    return np.array(
        [state.probabilities([0, 8]) @ [1, -1, -1, 1], state.probabilities([4]) @ [1, -1]]
    )


def test_readout_mitigation_uses_the_devices_calibration(noisy: GatewayClient) -> None:
    made = plan(ising_chain(9), ["Z0 Z8", "Z4"], [3, 4, 4], finder_seconds=0)
    raw = run(made, GatewayExecutor(noisy), shots=200_000, seed=3)
    better = run(made, GatewayExecutor(noisy), shots=200_000, seed=3, readout_mitigation=True)
    assert (better.standard_errors > raw.standard_errors).all()
    ideal = ideal_values()
    assert (np.abs(raw.values - ideal) > 5 * raw.standard_errors).all()
    assert (np.abs(better.values - ideal) < 0.4 * np.abs(raw.values - ideal)).all()


def test_exact_values_of_noisy_devices_are_refused(noisy: GatewayClient, chain: Plan) -> None:
    with pytest.raises(ExecutionError, match="No QPU of the gateway computes exact values"):
        run(chain, GatewayExecutor(noisy), exact=True)


def test_fragments_too_wide_for_every_device_are_refused(noisy: GatewayClient) -> None:
    made = plan(ising_chain(8), "Z0 Z7", 8)
    with pytest.raises(ExecutionError, match="Fragment 0 fits nowhere"):
        run(made, GatewayExecutor(noisy), shots=10_000)
