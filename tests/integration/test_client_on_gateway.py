"""The client against a real gateway in a process of its own."""

import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from qiskit.primitives import (
    StatevectorEstimator,
)

from kubeqpu.client import (
    AsyncGatewayClient,
    ConflictError,
    EstimatorEntry,
    EstimatorJob,
    GatewayClient,
    InvalidRequestError,
    JobCancelledError,
    JobState,
    LimitExceededError,
    NotFoundError,
    Options,
    ResultFormat,
    SamplerEntry,
    SamplerJob,
    Twirling,
    UnavailableError,
    circuits_to_qpy,
)
from tests.support.circuits import ansatz
from tests.support.gateway import GatewayProcess


def sweep(rows: int, shots: int, seed: int = 1) -> SamplerJob:
    circuit = ansatz()
    circuit.measure_all()
    angles = np.random.default_rng(0).uniform(-3, 3, (rows, 2))
    return SamplerJob(
        circuits=circuits_to_qpy(circuit), entries=[SamplerEntry(shots, angles)], seed=seed
    )


def test_the_same_seed_gives_the_same_samples(client: GatewayClient) -> None:
    first, second, other = (
        client.submit(sweep(20, 100, seed)).result().entries[0].counts for seed in (5, 5, 6)
    )
    assert first.outcomes.tobytes() == second.outcomes.tobytes()
    assert first.counts.tolist() == second.counts.tolist()
    assert first.counts.tolist() != other.counts.tolist()


def test_counts_and_bits_tell_the_same(client: GatewayClient) -> None:
    job = sweep(5, 200)
    counts = client.submit(job).result().entries[0].counts
    bits = client.submit(
        SamplerJob(
            circuits=job.circuits, entries=job.entries, seed=job.seed, format=ResultFormat.BITS
        )
    )
    found = bits.result().entries[0].bits
    for row in range(5):
        outcomes, times = np.unique(found.row("meas", row), return_counts=True)
        assert counts.row(row) == dict(zip(outcomes.tolist(), times.tolist(), strict=True))


def test_shots_per_row_are_respected(client: GatewayClient) -> None:
    shots = np.arange(1, 51)
    circuit = ansatz().assign_parameters([0.1, 0.2])
    circuit.measure_all()
    job = SamplerJob(circuits=circuits_to_qpy(circuit), entries=[SamplerEntry(shots)])
    result = client.submit(job).result()
    assert result.entries[0].counts.shots.tolist() == shots.tolist()
    assert result.record.circuits == 50


def test_pairs_are_evaluated_in_order(client: GatewayClient) -> None:
    values = np.linspace(0, 3, 60).reshape(30, 2)
    random = np.random.default_rng(1)
    rows = np.sort(random.integers(30, size=40))
    pairs = np.stack([rows, random.integers(2, size=40)], axis=1)
    pairs = np.unique(pairs, axis=0)
    entry = EstimatorEntry(["ZZI", "IXX"], values, pairs=pairs)
    job = EstimatorJob(circuits=circuits_to_qpy(ansatz()), entries=[entry], exact=True)
    found = client.submit(job).result().entries[0].expectations.values
    every = StatevectorEstimator().run([(ansatz(), [["ZZI"], ["IXX"]], values)]).result()[0]
    expected = every.data.evs[pairs[:, 1], pairs[:, 0]]
    np.testing.assert_allclose(found, expected, atol=1e-10)


def test_bad_input_gets_the_gateways_sentence(client: GatewayClient) -> None:
    silent = QuantumCircuit(1, 1)
    wide = QuantumCircuit(31)
    wide.measure_all()
    pair = ansatz()
    cases: list[tuple[type[Exception], str, SamplerJob | EstimatorJob]] = [
        (InvalidRequestError, "QPY", SamplerJob(circuits=b"junk", entries=[SamplerEntry(1)])),
        (InvalidRequestError, "measures nothing", sample(silent)),
        (InvalidRequestError, "has 31 qubits", sample(wide)),
        (InvalidRequestError, "NaN", sample(measured(), parameters=[0.1, np.nan])),
        (InvalidRequestError, "2 parameters", sample(measured(), parameters=[0.1])),
        (LimitExceededError, "1000000000 shots", sample(measured(), 10**9, [0.1, 0.2])),
        (LimitExceededError, "in all", sample(measured(), 10**7, np.zeros((100, 2)))),
        (NotFoundError, "QPU", sample(measured(), parameters=[0.1, 0.2], qpu="none")),
        (
            InvalidRequestError,
            "twirling",
            sample(measured(), 1, [0, 0], options=Options(twirling=Twirling(gates=True))),
        ),
        (
            InvalidRequestError,
            "acts on 2 qubits",
            EstimatorJob(
                circuits=circuits_to_qpy(pair), entries=[EstimatorEntry(["ZZ"], [0.1, 0.2])]
            ),
        ),
    ]
    jobs = len(list(client.list_jobs()))
    for kind, words, job in cases:
        with pytest.raises(kind, match=words):
            client.submit(job)
    assert len(list(client.list_jobs())) == jobs


def measured() -> QuantumCircuit:
    circuit = ansatz()
    circuit.measure_all()
    return circuit


def sample(
    circuit: QuantumCircuit,
    shots: int = 1,
    parameters: object = None,
    qpu: str | None = None,
    options: Options | None = None,
) -> SamplerJob:
    values = None if parameters is None else np.asarray(parameters, dtype=np.float64)
    return SamplerJob(
        circuits=circuits_to_qpy(circuit),
        entries=[SamplerEntry(shots, values)],
        qpu=qpu,
        options=options or Options(),
    )


def test_keys_hold_over_processes_of_the_client(gateway: GatewayProcess) -> None:
    with GatewayClient(gateway.address, qpu="aer") as client:
        first = client.submit(sweep(3, 10), idempotency_key="nightly")
    with GatewayClient(gateway.address, qpu="aer") as client:
        circuit = QuantumCircuit(1)
        circuit.rx(Parameter("t"), 0)
        circuit.measure_all()
        with pytest.raises(ConflictError):
            client.submit(sample(circuit, 1, [0.1]), idempotency_key="nightly")
        job = client.job(first.id)
        assert job.result().record.idempotency_key == "nightly"


async def test_asyncio_runs_many_jobs_at_once(gateway: GatewayProcess) -> None:
    async with AsyncGatewayClient(gateway.address, qpu="aer") as client:
        jobs = [await client.submit(sweep(5, 50, seed)) for seed in range(8)]
        results = [await job.result() for job in jobs]
        assert [result.entries[0].counts.rows for result in results] == [5] * 8
        blob = await client.put_blob(b"means", ttl_seconds=60)
        assert await client.get_blob(blob.digest) == b"means"


def test_messages_may_be_large_up_to_the_gateways_limit(client: GatewayClient) -> None:
    # gRPC's own limit is 4 MiB.
    data = np.random.default_rng(0).bytes(20 * 2**20)
    assert client.get_blob(client.put_blob(data, ttl_seconds=30).digest) == data
    with pytest.raises(LimitExceededError, match="may have"):
        client.put_blob(bytes(65 * 2**20))


def test_cancelled_jobs_stop_and_keep_what_is_stored(client: GatewayClient) -> None:
    job = client.submit(sweep(100_000, 1000))
    chunks = job.results()
    assert next(chunks).rows > 0
    assert job.cancel().state is JobState.CANCELLED
    with pytest.raises(JobCancelledError, match="circuits had finished"):
        list(chunks)
    assert client.submit(sweep(1, 1)).result(timeout_seconds=60).record.circuits == 1


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_restart_in_the_middle_of_a_stream_is_not_noticed(tmp_path: Path, how: int) -> None:
    qpus = [{"name": "aer", "provider": "aer"}]
    process = GatewayProcess(tmp_path, qpus, {"batch_seconds": 0.05}).start()
    try:
        with GatewayClient(process.address, qpu="aer", patience_seconds=60) as client:
            job = client.submit(sweep(3000, 500))
            chunks = job.results()
            received = [next(chunks)]

            def restart() -> None:
                if how == signal.SIGKILL:
                    process.kill()
                else:
                    process.stop()
                process.start()

            thread = threading.Thread(target=restart)
            thread.start()
            received += chunks
            thread.join()
            rows = sorted(
                row
                for chunk in received
                for row in range(chunk.first_row, chunk.first_row + chunk.rows)
            )
            assert rows == list(range(3000))
            again = client.submit(sweep(3000, 500)).result().entries[0].counts
            counts = job.result().entries[0].counts
            assert counts.outcomes.tobytes() == again.outcomes.tobytes()
            assert counts.counts.tobytes() == again.counts.tobytes()
    finally:
        process.stop()


@pytest.mark.timed
def test_a_gateway_that_is_away_is_named(tmp_path: Path) -> None:
    process = GatewayProcess(tmp_path, [{"name": "aer", "provider": "aer"}]).start()
    client = GatewayClient(process.address, qpu="aer", patience_seconds=0.3)
    assert len(client.qpus()) == 1
    assert os.getpgid(process.pid) > 0
    process.stop()
    begin = time.monotonic()
    with pytest.raises(UnavailableError, match="Check that it runs") as caught:
        client.submit(sweep(1, 1))
    assert process.address in str(caught.value)
    assert time.monotonic() - begin < 10
    client.close()
