"""Both clients against a gateway that speaks the contract and breaks on request."""

import threading
import time
from pathlib import Path

import grpc
import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter

from kubeqpu.client import (
    ClosedError,
    ConflictError,
    DeadlineError,
    EstimatorEntry,
    EstimatorJob,
    GatewayClient,
    InvalidRequestError,
    JobCancelledError,
    JobFailedError,
    JobState,
    NotFoundError,
    Options,
    ProtocolError,
    ResultFormat,
    SamplerEntry,
    SamplerJob,
    Twirling,
    UnavailableError,
    circuits_to_qpy,
)
from tests.support.memory_gateway import MemoryGateway
from tests.support.sweeps import ROWS, rotated_pair, sweep


def test_a_job_from_submission_to_result(memory_client: GatewayClient) -> None:
    job = memory_client.submit(sweep(), idempotency_key="sweep")
    assert job.record.state is JobState.QUEUED
    assert memory_client.job(job.id).record.idempotency_key == "sweep"
    counts = job.result().entries[0].counts
    assert counts.shots.tolist() == [50] * ROWS
    assert counts.row(0) == {0: 50}
    assert counts.row(ROWS - 1) == {3: 50}
    assert 0 < counts.row(5)[0] < 50
    assert job.status() is JobState.SUCCEEDED
    assert "succeeded" in repr(job)


def test_chunks_come_as_circuits_finish(
    memory_gateway: MemoryGateway, memory_client: GatewayClient
) -> None:
    memory_gateway.release.clear()
    job = memory_client.submit(sweep())
    chunks = job.results()
    first = next(chunks)
    assert (first.entry, first.first_row, first.rows, first.execution.qpu) == (0, 0, 3, "memory")
    assert job.status() is not JobState.SUCCEEDED
    memory_gateway.release.set()
    assert sum(chunk.rows for chunk in chunks) == ROWS - 3
    assert job.status() is JobState.SUCCEEDED


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, None])
def test_broken_streams_are_resumed_without_duplicates(
    memory_gateway: MemoryGateway, memory_client: GatewayClient, code: grpc.StatusCode | None
) -> None:
    memory_gateway.faults.stream_breaks = [0, 2, 1, 4]
    memory_gateway.faults.break_code = code
    job = memory_client.submit(sweep())
    rows = [range(chunk.first_row, chunk.first_row + chunk.rows) for chunk in job.results()]
    assert [row for part in rows for row in part] == list(range(ROWS))
    assert memory_gateway.streams == 5


def test_a_gateway_that_restarts_in_the_middle_of_a_stream(
    memory_gateway: MemoryGateway, memory_client: GatewayClient
) -> None:
    memory_gateway.release.clear()
    chunks = memory_client.submit(sweep()).results()
    rows = next(chunks).rows
    memory_gateway.stop()

    def restart() -> None:
        time.sleep(0.3)
        memory_gateway.release.set()
        memory_gateway.start()

    thread = threading.Thread(target=restart)
    thread.start()
    rows += sum(chunk.rows for chunk in chunks)
    thread.join()
    assert rows == ROWS


def test_lost_acknowledgements_make_no_second_job(
    memory_gateway: MemoryGateway, memory_client: GatewayClient
) -> None:
    memory_gateway.faults.lost_acknowledgements = 2
    job = memory_client.submit(sweep())
    assert len(memory_gateway.submissions) == 3
    assert [record.id for record in memory_client.list_jobs()] == [job.id]


def test_the_same_key_gives_the_same_job_or_a_conflict(memory_client: GatewayClient) -> None:
    first = memory_client.submit(sweep(), idempotency_key="k")
    assert memory_client.submit(sweep(), idempotency_key="k").id == first.id
    with pytest.raises(ConflictError, match="Key k is used"):
        memory_client.submit(sweep(seed=2), idempotency_key="k")


def test_no_gateway_is_told_with_its_address_and_what_to_check(tmp_path: Path) -> None:
    address = f"unix:{tmp_path}/none.sock"
    with GatewayClient(address, qpu="q", patience_seconds=0.2) as client:
        begin = time.monotonic()
        with pytest.raises(UnavailableError, match="Check that it runs") as caught:
            client.submit(sweep())
        assert address in str(caught.value)
        assert "KUBEQPU_GATEWAY" in str(caught.value)
        assert time.monotonic() - begin < 5
        with pytest.raises(UnavailableError):
            list(client.results("job"))


def test_streams_that_never_reach_their_end_are_given_up(memory_gateway: MemoryGateway) -> None:
    memory_gateway.faults.stream_breaks = [0] * 100
    memory_gateway.faults.break_code = None
    with (
        GatewayClient(memory_gateway.address, qpu="memory", patience_seconds=0.2) as client,
        pytest.raises(ProtocolError, match="again and again"),
    ):
        client.submit(sweep()).result()


def test_jobs_are_listed_newest_first_over_pages(memory_client: GatewayClient) -> None:
    ids = [memory_client.submit(sweep(seed)).id for seed in range(5)]
    memory_client.cancel(ids[2])
    assert [record.id for record in memory_client.list_jobs()] == ids[::-1]
    listed = list(memory_client.list_jobs([JobState.CANCELLED]))
    assert [record.id for record in listed] == [ids[2]]
    assert listed[0].submitted_at is not None
    assert listed[0].submitted_at.tzinfo is not None


def test_cancelling_keeps_the_results_there_are(
    memory_gateway: MemoryGateway, memory_client: GatewayClient
) -> None:
    memory_gateway.release.clear()
    job = memory_client.submit(sweep())
    chunks = job.results()
    assert next(chunks).rows == 3
    assert job.cancel().state is JobState.CANCELLED
    with pytest.raises(JobCancelledError, match="The caller cancelled it"):
        next(chunks)
    assert job.status() is JobState.CANCELLED


def test_failed_jobs_raise_the_gateways_reason(
    memory_gateway: MemoryGateway, memory_client: GatewayClient
) -> None:
    job = memory_client.submit(sweep())
    memory_gateway.fail(job.id, "The QPU caught fire.")
    with pytest.raises(JobFailedError, match="The QPU caught fire"):
        job.result()


def test_waiting_ends_at_the_callers_deadline_and_the_job_runs_on(
    memory_gateway: MemoryGateway, memory_client: GatewayClient
) -> None:
    memory_gateway.release.clear()
    job = memory_client.submit(sweep())
    with pytest.raises(DeadlineError, match=r"did not finish within 0.3 seconds; it runs on"):
        job.result(timeout_seconds=0.3)
    memory_gateway.release.set()
    assert job.result(timeout_seconds=30).record.state is JobState.SUCCEEDED


def test_the_gateways_sentences_are_kept(memory_client: GatewayClient) -> None:
    with pytest.raises(NotFoundError, match="There is no job 'x'"):
        memory_client.job("x")
    with pytest.raises(NotFoundError, match="There is no job 'x'"):
        list(memory_client.results("x"))
    with pytest.raises(NotFoundError, match="There is no QPU 'y'"):
        memory_client.qpu("y")
    twirled = SamplerJob(
        circuits=rotated_pair(),
        entries=[SamplerEntry(1, [0.1])],
        options=Options(twirling=Twirling(gates=True)),
    )
    with pytest.raises(InvalidRequestError, match="cannot twirl"):
        memory_client.submit(twirled)


def test_closed_clients_say_so(memory_gateway: MemoryGateway) -> None:
    memory_gateway.release.clear()
    client = GatewayClient(memory_gateway.address, qpu="memory")
    chunks = client.submit(sweep()).results()
    next(chunks)
    client.close()
    client.close()
    with pytest.raises(ClosedError, match="make a new GatewayClient"):
        next(chunks)
    with pytest.raises(ClosedError):
        client.qpus()


def test_leaving_a_stream_early_ends_it_at_the_gateway(
    memory_gateway: MemoryGateway, memory_client: GatewayClient
) -> None:
    memory_gateway.release.clear()
    for _ in range(40):
        # The gateway has 16 threads: streams left open would starve it.
        for _chunk in memory_client.submit(sweep()).results():
            break
    assert len(memory_client.qpus()) == 1


def test_blobs_are_checked_against_their_digest(
    memory_gateway: MemoryGateway, memory_client: GatewayClient
) -> None:
    blob = memory_client.put_blob(b"histogram", ttl_seconds=60)
    assert blob.digest.startswith("sha256:")
    assert blob.expires_at is not None
    assert memory_client.get_blob(blob.digest) == b"histogram"
    memory_gateway.spoil_blob(blob.digest)
    with pytest.raises(ProtocolError, match="do not use them"):
        memory_client.get_blob(blob.digest)
    with pytest.raises(NotFoundError):
        memory_client.get_blob("sha256:00")


def test_qpus_are_described_in_plain_data(memory_client: GatewayClient) -> None:
    (listed,) = memory_client.qpus()
    assert listed.target is None
    assert listed.qpu.is_true("Ready")
    assert listed.qpu.calibration is not None
    assert listed.qpu.calibration.time.isoformat() == "2023-11-14T22:13:20+00:00"
    assert listed.qpu.calibration.eplg is None
    assert (listed.qpu.queue.provider_pending, listed.qpu.queue.estimated_wait_seconds) == (3, 1.5)
    assert str(listed) == (
        "memory: ready, 5 qubits, provider memory, wait 2 s, two-qubit error 1.00%"
    )
    assert listed.capabilities.dynamical_decoupling == ("XY4",)
    target = memory_client.qpu("memory", include_target=True).target
    assert target is not None
    cz = next(found for found in target.instructions if found.name == "cz")
    assert [site.error for site in cz.sites] == [1.0, 0.01, 0.01, 0.01]
    assert cz.sites[0].duration_seconds is None
    assert target.qubits[4].t2_seconds == pytest.approx(1.6e-4)


def test_estimates_follow_their_pairs_over_chunks(memory_client: GatewayClient) -> None:
    circuit = QuantumCircuit(2)
    circuit.ry(Parameter("t"), 0)
    angles = np.linspace(0, np.pi, ROWS)[:, None]
    pairs = [[0, 1], [0, 0], [4, 1], [9, 0], [9, 1]]
    entry = EstimatorEntry([{"IZ": 2.0, "ZI": 1.0}, "IX"], angles, pairs=pairs)
    job = EstimatorJob(circuits=circuits_to_qpy(circuit), entries=[entry], exact=True)
    found = memory_client.submit(job).result().entries[0].expectations
    exact = [
        2 * np.cos(angles[row, 0]) + 1 if column == 0 else np.sin(angles[row, 0])
        for row, column in pairs
    ]
    np.testing.assert_allclose(found.values, exact, atol=1e-12)
    assert found.variances.tolist() == [0.0] * 5


def test_bits_come_per_register(memory_client: GatewayClient) -> None:
    circuit = QuantumCircuit(3, 1)
    circuit.x(0)
    circuit.measure_all()
    job = SamplerJob(
        circuits=circuits_to_qpy(circuit), entries=[SamplerEntry(4)], format=ResultFormat.BITS
    )
    bits = memory_client.submit(job).result().entries[0].bits
    assert list(bits.registers) == ["c", "meas"]
    assert bits.registers["meas"].tolist() == [[1]] * 4
