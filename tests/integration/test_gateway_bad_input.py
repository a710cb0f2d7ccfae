"""Bad input over the wire: each case gets one clear sentence, and nothing changes."""

from __future__ import annotations

import struct
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import numpy as np
import pytest
import pytest_asyncio
from qiskit import QuantumCircuit
from qiskit.circuit import Gate, Parameter

from kubeqpu.proto.v1 import gateway_pb2
from tests.integration.gateway_support import (
    Coins,
    coin_spec,
    dump,
    make_settings,
    parameters,
    request,
    serve,
)

if TYPE_CHECKING:
    from tests.integration.gateway_support import Stub

INVALID = grpc.StatusCode.INVALID_ARGUMENT
EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED
ONE_ROW = gateway_pb2.ParameterArray(rows=1)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stub(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stub]:
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
        yield stub


def bell(*, measured: bool = True) -> QuantumCircuit:
    circuit = QuantumCircuit(2, 2)
    circuit.h(0)
    circuit.cx(0, 1)
    if measured:
        circuit.measure([0, 1], [0, 1])
    return circuit


def rotation(*, measured: bool = True) -> QuantumCircuit:
    circuit = QuantumCircuit(1, 1)
    circuit.ry(Parameter("angle"), 0)
    if measured:
        circuit.measure(0, 0)
    return circuit


def sampler(
    circuit: QuantumCircuit | bytes,
    values: gateway_pb2.ParameterArray = ONE_ROW,
    shots: tuple[int, ...] = (10,),
    template: int = 0,
    **changes: object,
) -> gateway_pb2.JobSpec:
    qpy = circuit if isinstance(circuit, bytes) else dump(circuit)
    entry = gateway_pb2.SamplerEntry(template=template, parameters=values, shots=shots)
    spec = gateway_pb2.JobSpec(qpu="ideal", circuits=qpy)
    spec.sampler.entries.append(entry)
    spec.sampler.format = gateway_pb2.RESULT_FORMAT_BITS
    for name, value in changes.items():
        setattr(spec, name, value)
    return spec


def estimator(
    pauli: str = "ZZ",
    coefficient: float = 1.0,
    precision: float = 0.1,
    exact: bool = False,
    circuit: QuantumCircuit | None = None,
    **changes: object,
) -> gateway_pb2.JobSpec:
    entry = gateway_pb2.EstimatorEntry(parameters=ONE_ROW, precision=precision)
    entry.observables.add().terms.add(pauli=pauli, coefficient=coefficient)
    spec = gateway_pb2.JobSpec(qpu="ideal", circuits=dump(circuit or bell(measured=False)))
    spec.estimator.entries.append(entry)
    spec.estimator.exact = exact
    for name, value in changes.items():
        setattr(spec, name, value)
    return spec


def changed(
    spec: gateway_pb2.JobSpec, change: Callable[[gateway_pb2.JobSpec], object]
) -> gateway_pb2.JobSpec:
    change(spec)
    return spec


def with_options(spec: gateway_pb2.JobSpec, **options: object) -> gateway_pb2.JobSpec:
    spec.options.CopyFrom(gateway_pb2.Options(**options))  # type: ignore[arg-type]
    return spec


def forged(version: int) -> bytes:
    payload = bytearray(dump(bell()))
    assert payload[:6] == b"QISKIT"
    payload[6] = version
    return bytes(payload)


def many_programs() -> bytes:
    payload = bytearray(dump(bell()))
    struct.pack_into("!Q", payload, 10, 2**60)
    return bytes(payload)


def conditional() -> QuantumCircuit:
    circuit = bell()
    with circuit.if_test((circuit.clbits[0], 1)):
        circuit.x(1)
    return circuit


def mid_circuit() -> QuantumCircuit:
    circuit = bell()
    circuit.x(0)
    circuit.measure(0, 0)
    return circuit


def unknown_gate() -> QuantumCircuit:
    circuit = QuantumCircuit(1, 1)
    circuit.append(Gate("wobble", 1, []), [0])
    circuit.measure(0, 0)
    return circuit


def clbitless() -> QuantumCircuit:
    circuit = QuantumCircuit(1)
    circuit.h(0)
    return circuit


def wide(qubits: int) -> QuantumCircuit:
    circuit = QuantumCircuit(qubits, qubits)
    circuit.measure(range(qubits), range(qubits))
    return circuit


NAN, INFINITE = parameters([[np.nan]]), parameters([[np.inf]])
WRONG_BYTES = gateway_pb2.ParameterArray(rows=2, columns=1, values=b"\0" * 8)
TWIRLING = gateway_pb2.Twirling(gates=True)
DECOUPLING = gateway_pb2.DynamicalDecoupling(sequence="XY4")
SESSION = gateway_pb2.EXECUTION_MODE_SESSION
BATCH = gateway_pb2.EXECUTION_MODE_BATCH
PAIRS_ODD = estimator()
PAIRS_ODD.estimator.entries[0].pairs.extend([0, 0, 0])
PAIRS_FAR = estimator()
PAIRS_FAR.estimator.entries[0].pairs.extend([0, 1])
LONG_TTL = sampler(bell())
LONG_TTL.result_ttl.FromSeconds(10**9)
EMPTY_SAMPLER = sampler(bell())
del EMPTY_SAMPLER.sampler.entries[:]
EMPTY_ESTIMATOR = estimator()
del EMPTY_ESTIMATOR.estimator.entries[:]
NO_OBSERVABLE = estimator()
del NO_OBSERVABLE.estimator.entries[0].observables[:]
NO_TERMS = estimator()
del NO_TERMS.estimator.entries[0].observables[0].terms[:]
NO_KIND = gateway_pb2.JobSpec(qpu="ideal", circuits=dump(bell()))
NO_FORMAT = sampler(bell())
NO_FORMAT.sampler.format = gateway_pb2.RESULT_FORMAT_UNSPECIFIED
MANY_TERMS = estimator()
for _ in range(100):
    MANY_TERMS.estimator.entries[0].observables[0].terms.add(pauli="ZZ", coefficient=1.0)

CASES = {
    "not a circuit": (sampler(b"OPENQASM 3.0;"), INVALID, "not QPY"),
    "no circuit": (sampler(b""), INVALID, "no circuits"),
    "qpy 12": (sampler(forged(12)), INVALID, "version 12"),
    "qpy 19": (sampler(forged(19)), INVALID, "version 19"),
    "cut off": (sampler(dump(bell())[:100]), INVALID, "cannot be loaded"),
    "forged header": (sampler(many_programs()), INVALID, "circuits"),
    "oversize payload": (sampler(dump(bell()) + b"\0" * 200_000), EXHAUSTED, "bytes"),
    "no target": (changed(sampler(bell()), lambda s: s.ClearField("qpu")), INVALID, "target"),
    "unknown qpu": (sampler(bell(), qpu="nowhere"), grpc.StatusCode.NOT_FOUND, "serves ideal"),
    "unknown class": (sampler(bell(), qpu_class="gold"), INVALID, "no class 'gold'"),
    "no kind": (NO_KIND, INVALID, "no kind"),
    "empty sampler": (EMPTY_SAMPLER, INVALID, "empty"),
    "empty estimator": (EMPTY_ESTIMATOR, INVALID, "empty"),
    "no format": (NO_FORMAT, INVALID, "result format"),
    "too many qubits": (sampler(wide(7)), INVALID, "has 7 qubits, but QPU ideal has 6"),
    "too many for any": (
        changed(sampler(wide(7)), lambda s: setattr(s, "qpu_class", "standard")),
        INVALID,
        "No QPU can run this job",
    ),
    "no classical bits": (sampler(clbitless()), INVALID, "no classical bits"),
    "no measurement": (sampler(bell(measured=False)), INVALID, "measures nothing"),
    "unknown gate": (sampler(unknown_gate()), INVALID, "wobble"),
    "gate outside basis": (sampler(bell(), qpu="fake"), INVALID, "transpile"),
    "control flow": (
        sampler(conditional(), qpu="coin"),
        INVALID,
        "control flow",
    ),
    "mid-circuit": (
        sampler(mid_circuit(), qpu="coin"),
        INVALID,
        "mid-circuit",
    ),
    "template out of range": (sampler(bell(), template=1), INVALID, "uses circuit 1"),
    "no rows": (sampler(bell(), gateway_pb2.ParameterArray()), INVALID, "no rows"),
    "nan parameter": (sampler(rotation(), NAN), INVALID, "NaN or infinite"),
    "infinite parameter": (sampler(rotation(), INFINITE), INVALID, "NaN or infinite"),
    "wrong bytes": (sampler(rotation(), WRONG_BYTES), INVALID, "take 16"),
    "wrong columns": (sampler(rotation(), parameters([[1, 2]])), INVALID, "1 parameters"),
    "missing parameters": (sampler(rotation()), INVALID, "0 values per row"),
    "too many rows": (sampler(bell(), gateway_pb2.ParameterArray(rows=1001)), EXHAUSTED, "1001"),
    "zero shots": (sampler(bell(), shots=(0,)), INVALID, "0 shots"),
    "no shots": (sampler(bell(), shots=()), INVALID, "numbers of shots"),
    "shots per row": (sampler(bell(), shots=(1, 2)), INVALID, "2 numbers of shots"),
    "1e9 shots": (sampler(bell(), shots=(10**9,)), EXHAUSTED, "1000000000 shots"),
    "above max_shots": (sampler(bell(), shots=(100_001,)), INVALID, "at most 100000"),
    "total shots": (
        sampler(bell(), gateway_pb2.ParameterArray(rows=11), shots=(100_000,)),
        EXHAUSTED,
        "1100000 shots in all",
    ),
    "measuring estimator": (estimator(circuit=bell()), INVALID, "measures"),
    "short observable": (estimator("Z"), INVALID, "acts on 1 qubits"),
    "long observable": (estimator("ZZZ"), INVALID, "acts on 3 qubits"),
    "wrong letters": (estimator("ZA"), INVALID, "letters I, X, Y and Z"),
    "empty pauli": (estimator(""), INVALID, "letters I, X, Y and Z"),
    "nan coefficient": (estimator(coefficient=float("nan")), INVALID, "coefficient"),
    "no observable": (NO_OBSERVABLE, INVALID, "no observable"),
    "no terms": (NO_TERMS, INVALID, "no terms"),
    "too many terms": (MANY_TERMS, EXHAUSTED, "Pauli terms"),
    "zero precision": (estimator(precision=0.0), INVALID, "precision 0"),
    "negative precision": (estimator(precision=-1.0), INVALID, "precision -1"),
    "nan precision": (estimator(precision=float("nan")), INVALID, "precision nan"),
    "odd pairs": (PAIRS_ODD, INVALID, "3 numbers in `pairs`"),
    "pairs out of range": (PAIRS_FAR, INVALID, "observable 1 at most"),
    "exact on noisy": (
        with_options(estimator(exact=True, qpu="fake"), transpile_level=1),
        INVALID,
        "noisy",
    ),
    "level 4": (with_options(sampler(bell()), transpile_level=4), INVALID, "level is 4"),
    "twirling": (with_options(sampler(bell()), twirling=TWIRLING), INVALID, "support twirling"),
    "decoupling": (
        with_options(sampler(bell()), dynamical_decoupling=DECOUPLING),
        INVALID,
        "support dynamical decoupling",
    ),
    "resilience": (
        with_options(sampler(bell()), resilience_level=2),
        INVALID,
        "support resilience level 2",
    ),
    "readout mitigation": (
        with_options(sampler(bell()), readout_mitigation=True),
        INVALID,
        "support readout mitigation",
    ),
    "session": (with_options(sampler(bell()), execution_mode=SESSION), INVALID, "mode session"),
    "batch": (with_options(sampler(bell()), execution_mode=BATCH), INVALID, "mode batch"),
    "id without mode": (with_options(sampler(bell()), execution_id="x"), INVALID, "execution id"),
    "unknown mode": (with_options(sampler(bell()), execution_mode=9), INVALID, "mode 9"),
    "layout of wrong length": (
        with_options(sampler(bell(), qpu="fake"), initial_layout=gateway_pb2.Layout(qubits=[0])),
        INVALID,
        "names 1 qubits",
    ),
    "layout twice": (
        with_options(sampler(bell(), qpu="fake"), initial_layout=gateway_pb2.Layout(qubits=[0, 0])),
        INVALID,
        "twice",
    ),
    "layout out of range": (
        with_options(sampler(bell(), qpu="fake"), initial_layout=gateway_pb2.Layout(qubits=[0, 9])),
        INVALID,
        "names qubit 9",
    ),
    "ttl too long": (LONG_TTL, INVALID, "ttl"),
}


async def refuse(stub: Stub, submission: gateway_pb2.SubmitJobRequest) -> grpc.aio.AioRpcError:
    tenant = (("kubeqpu-tenant", f"t-{uuid.uuid4().hex}"),)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stub.SubmitJob(submission, metadata=tenant)
    listed = await stub.ListJobs(gateway_pb2.ListJobsRequest(), metadata=tenant)
    assert not listed.jobs, "a refused job was stored"
    return refused.value


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("case", CASES)
async def test_bad_jobs_are_refused_with_a_sentence(stub: Stub, case: str) -> None:
    spec, code, words = CASES[case]
    error = await refuse(stub, request("key", spec))
    sentence = str(error.details())
    assert words in sentence
    assert error.code() == code
    assert sentence.endswith(".")
    assert "\n" not in sentence
    assert len(sentence) < 500
    assert "Traceback" not in sentence


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("key", ["", "x" * 129, " x", "a\nb"])
async def test_bad_keys_are_refused(stub: Stub, key: str) -> None:
    error = await refuse(stub, request(key, sampler(bell())))
    assert error.code() == INVALID
    assert "idempotency key" in str(error.details())


@pytest.mark.asyncio(loop_scope="module")
async def test_a_message_above_the_wire_limit_is_refused(stub: Stub) -> None:
    error = await refuse(stub, request("key", sampler(b"\0" * 2**20)))
    assert error.code() == EXHAUSTED


@pytest.mark.asyncio(loop_scope="module")
async def test_other_bad_calls_are_refused(stub: Stub) -> None:
    empty_ttl = gateway_pb2.PutBlobRequest(data=b"x")
    empty_ttl.ttl.FromSeconds(0)
    calls: list[tuple[Awaitable[object], grpc.StatusCode]] = [
        (stub.GetBlob(gateway_pb2.GetBlobRequest(digest="sha1:00")), INVALID),
        (stub.PutBlob(gateway_pb2.PutBlobRequest(data=b"x" * 1001)), EXHAUSTED),
        (stub.PutBlob(empty_ttl), INVALID),
        (stub.ListJobs(gateway_pb2.ListJobsRequest(page_token="x")), INVALID),
        (stub.ListJobs(gateway_pb2.ListJobsRequest(states=[77])), INVALID),  # type: ignore[list-item]
        (stub.GetQPU(gateway_pb2.GetQPURequest(name="x")), grpc.StatusCode.NOT_FOUND),
        (stub.GetJob(gateway_pb2.GetJobRequest(id="x")), grpc.StatusCode.NOT_FOUND),
        (
            stub.GetJob(gateway_pb2.GetJobRequest(id="x"), metadata=(("kubeqpu-tenant", "A b"),)),
            INVALID,
        ),
    ]
    for call, code in calls:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call
        assert refused.value.code() == code


@pytest.mark.asyncio(loop_scope="module")
async def test_blobs_of_a_tenant_are_capped(stub: Stub) -> None:
    await stub.PutBlob(gateway_pb2.PutBlobRequest(data=b"a" * 1000))
    await stub.PutBlob(gateway_pb2.PutBlobRequest(data=b"a" * 1000))
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stub.PutBlob(gateway_pb2.PutBlobRequest(data=b"b" * 1000))
    assert refused.value.code() == EXHAUSTED
    assert "has 1000 bytes in blobs and may have 1500" in str(refused.value.details())


async def test_too_many_unfinished_jobs_are_refused(tmp_path: Path) -> None:
    coins = Coins(lambda provider: provider.available.clear())
    settings = make_settings(tmp_path, limits={"max_unfinished_jobs": 2})
    async with serve(settings, coins) as (_, stub):
        for key in ("a", "b"):
            await stub.SubmitJob(request(key, coin_spec([[1.0]])))
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.SubmitJob(request("c", coin_spec([[1.0]])))
        assert refused.value.code() == EXHAUSTED
        coins.by_name["coin"].available.set()
