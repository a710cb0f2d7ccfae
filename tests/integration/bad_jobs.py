"""What the tests of bad input share: jobs to spoil, and what each refusal must look like."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

import grpc
import pytest
from qiskit import QuantumCircuit

from kubeqpu.proto.v1 import gateway_pb2
from tests.integration.gateway_support import dump, request

if TYPE_CHECKING:
    from tests.integration.gateway_support import Stub

# A bad job, the status code it must be refused with, and words of the sentence that says why.
BadJob: TypeAlias = tuple[gateway_pb2.JobSpec, grpc.StatusCode, str]

INVALID = grpc.StatusCode.INVALID_ARGUMENT
EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED
ONE_ROW = gateway_pb2.ParameterArray(rows=1)


def bell(*, measured: bool = True) -> QuantumCircuit:
    """Makes a Bell pair."""
    circuit = QuantumCircuit(2, 2)
    circuit.h(0)
    circuit.cx(0, 1)
    if measured:
        circuit.measure([0, 1], [0, 1])
    return circuit


def sampler(
    circuit: QuantumCircuit | bytes,
    values: gateway_pb2.ParameterArray = ONE_ROW,
    shots: tuple[int, ...] = (10,),
    template: int = 0,
    **changes: object,
) -> gateway_pb2.JobSpec:
    """Makes a sampler job of one entry; `changes` are set on the spec."""
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
    """Makes an estimator job of one entry and one term; `changes` are set on the spec."""
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
    """Returns a spec after a change to it."""
    change(spec)
    return spec


def with_options(spec: gateway_pb2.JobSpec, **options: object) -> gateway_pb2.JobSpec:
    """Returns a spec with options."""
    spec.options.CopyFrom(gateway_pb2.Options(**options))  # type: ignore[arg-type]
    return spec


async def refuse(stub: Stub, submission: gateway_pb2.SubmitJobRequest) -> grpc.aio.AioRpcError:
    """Submits as a new tenant, expects a refusal, and checks that nothing was stored."""
    tenant = (("kubeqpu-tenant", f"t-{uuid.uuid4().hex}"),)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stub.SubmitJob(submission, metadata=tenant)
    listed = await stub.ListJobs(gateway_pb2.ListJobsRequest(), metadata=tenant)
    assert not listed.jobs, "a refused job was stored"
    return refused.value


async def check_refused(stub: Stub, bad: BadJob) -> None:
    """Submits a bad job and checks that one clear sentence refuses it."""
    spec, code, words = bad
    error = await refuse(stub, request("key", spec))
    sentence = str(error.details())
    assert words in sentence, sentence
    assert error.code() == code, error.code()
    assert sentence.endswith(".")
    assert "\n" not in sentence
    assert len(sentence) < 500
    assert "Traceback" not in sentence
