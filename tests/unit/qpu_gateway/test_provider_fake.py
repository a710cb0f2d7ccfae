"""Fake devices: what they report, and how a test drives them while the gateway runs."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pydantic import JsonValue
from qiskit import QuantumCircuit

from kubeqpu.proto.v1 import gateway_pb2, qpu_pb2
from kubeqpu.qpu_gateway.errors import CircuitError, ProviderError, ProviderUnavailableError
from kubeqpu.qpu_gateway.providers.base import Batch, QPUSettings, Span
from kubeqpu.qpu_gateway.providers.fake import FakeProvider
from kubeqpu.qpu_gateway.workers import WorkerPool
from tests.support.simulation import frequencies, sampler_spec


@pytest.fixture
async def workers() -> AsyncIterator[WorkerPool]:
    pool = WorkerPool()
    yield pool
    await pool.close()


def settings(backend: str = "FakeNairobiV2", **options: JsonValue) -> QPUSettings:
    return QPUSettings(name="dev", provider="fake", options={"backend": backend, **options})


async def started(workers: WorkerPool, given: QPUSettings) -> FakeProvider:
    provider = FakeProvider(given, workers)
    await provider.start()
    return provider


def flip(width: int = 7) -> QuantumCircuit:
    circuit = QuantumCircuit(width, 1)
    circuit.x(0)
    circuit.measure(0, 0)
    return circuit


async def run(provider: FakeProvider, job: str) -> gateway_pb2.ResultChunk:
    work = Batch(job, "team-a", sampler_spec(flip(), shots=[4000]), (Span(0, 0, 1),))
    (chunk,) = [chunk async for chunk in provider.run(work)]
    return chunk


def statuses(qpu: qpu_pb2.QPU) -> dict[str, str]:
    return {condition.type: condition.status for condition in qpu.conditions}


async def test_a_device_is_described(workers: WorkerPool) -> None:
    provider = await started(
        workers, settings(queue={"pending": 4, "service_seconds": 2.5}, max_age_hours=24)
    )
    qpu = await provider.describe(include_target=True)
    assert (qpu.num_qubits, qpu.simulator, qpu.noisy) == (7, True, True)
    assert (qpu.queue.provider_pending, qpu.queue.estimated_wait_seconds) == (4, 10.0)
    assert statuses(qpu) == {"Ready": "True", "Accepting": "True", "Calibrated": "False"}
    assert 1e-4 < qpu.calibration.median_one_qubit_error < 1e-3
    assert 5e-3 < qpu.calibration.median_two_qubit_error < 2e-2
    assert 1e-2 < qpu.calibration.median_readout_error < 5e-2
    assert not qpu.calibration.HasField("eplg")
    assert not qpu.capabilities.exact
    assert {"cx", "rz", "sx", "x"} <= set(qpu.basis_gates)
    first = qpu.target.qubits[0]
    assert first.prob_meas1_prep0 == pytest.approx(0.037)
    assert first.prob_meas0_prep1 == pytest.approx(0.079)
    gates = {item.name: item for item in qpu.target.instructions}
    assert len(gates["cx"].gates) == 12
    assert gates["measure"].gates[0].error == pytest.approx(0.058)
    assert not (await provider.describe()).HasField("target")


async def test_a_large_device_reports_layer_fidelity_and_dead_edges(workers: WorkerPool) -> None:
    provider = await started(workers, settings("FakeFez"))
    qpu = await provider.describe()
    assert qpu.num_qubits == 156
    assert qpu.calibration.eplg == pytest.approx(5.6e-3, abs=1e-4)
    assert qpu.calibration.dead_edges == 7
    assert qpu.calibration.median_two_qubit_error < 5e-3


async def test_a_line_and_chosen_qubits_make_small_devices(workers: WorkerPool) -> None:
    line = await started(workers, settings(num_qubits=4))
    chosen = await started(workers, settings(qubits=[1, 3, 5, 4]))
    for provider in (line, chosen):
        qpu = await provider.describe(include_target=True)
        assert qpu.num_qubits == qpu.target.num_qubits == 4
        gates = {item.name: item for item in qpu.target.instructions}
        assert {tuple(sorted(gate.qubits)) for gate in gates["cx"].gates} == {
            (0, 1),
            (1, 2),
            (2, 3),
        }


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"qubits": [0, 4]}, "not connected"),
        ({"qubits": [0, 0]}, "must be different"),
        ({"qubits": [7]}, "of 0 to 6"),
        ({"num_qubits": 8}, "no line of 8"),
        ({"qubits": [0], "num_qubits": 1}, "not both"),
        ({"colour": "red"}, "colour"),
        ({"backend": "FakeNobody"}, "no fake backend 'FakeNobody'"),
        ({"backend": "RuntimeEncoder"}, "no fake backend"),
    ],
)
async def test_options_that_make_no_device_are_refused(
    workers: WorkerPool, options: dict[str, JsonValue], expected: str
) -> None:
    given: dict[str, JsonValue] = {"backend": "FakeNairobiV2", **options}
    section = QPUSettings(name="dev", provider="fake", options=given)
    with pytest.raises(ProviderError, match=expected):
        await started(workers, section)


async def test_a_control_file_drives_a_running_device(workers: WorkerPool, tmp_path: Path) -> None:
    control = tmp_path / "control.json"
    provider = await started(workers, settings(control_file=str(control)))
    before = await provider.describe()
    calm = await run(provider, "1")
    assert calm.execution.calibration_id == before.calibration.id
    assert calm.execution.qpu == "dev"

    drift = {"drift_seed": 3, "scale_readout": 4.0, "scale_two_qubit": 2.0}
    control.write_text(json.dumps({"calibration": drift, "queue": {"pending": 2}}))
    after = await provider.describe()
    assert after.calibration.id != before.calibration.id
    assert after.calibration.median_readout_error > 2 * before.calibration.median_readout_error
    assert after.queue.provider_pending == 2
    noisier = await run(provider, "1")
    assert noisier.execution.calibration_id == after.calibration.id
    errors = [frequencies(chunk.counts.rows[0], 1)[0] / 4000 for chunk in (calm, noisier)]
    assert errors[0] == pytest.approx(0.08, abs=0.03)
    assert errors[1] > 2 * errors[0]

    control.write_text(json.dumps({"outage": "cryostat warm"}))
    away = await provider.describe()
    assert statuses(away) == {"Ready": "False", "Accepting": "False", "Calibrated": "True"}
    assert "cryostat warm" in away.conditions[0].message
    assert away.calibration.id == before.calibration.id
    with pytest.raises(ProviderUnavailableError, match="cryostat warm"):
        await run(provider, "2")

    control.write_text('{"outage": fal')
    assert statuses(await provider.describe())["Ready"] == "False"
    control.write_text(json.dumps({"outage": False}))
    assert (await run(provider, "3")).rows == 1


async def test_circuits_that_do_not_fit_are_refused(workers: WorkerPool) -> None:
    provider = await started(workers, settings())
    circuit = QuantumCircuit(7, 1)
    circuit.cx(0, 6)
    circuit.measure(0, 0)
    work = Batch("1", "team-a", sampler_spec(circuit), (Span(0, 0, 1),))
    with pytest.raises(CircuitError, match=r"dev has no 'cx' on qubits \[0, 6\]"):
        [chunk async for chunk in provider.run(work)]


async def test_a_device_that_has_not_started_is_away(workers: WorkerPool) -> None:
    provider = FakeProvider(settings(), workers)
    assert statuses(await provider.describe()) == {"Ready": "False"}
    with pytest.raises(ProviderUnavailableError):
        await run(provider, "1")
