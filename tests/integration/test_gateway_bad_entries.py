"""Rows, shots, observables and precisions that make no sense are refused with one sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter

from kubeqpu.proto.v1 import gateway_pb2
from tests.integration.bad_jobs import (
    EXHAUSTED,
    INVALID,
    BadJob,
    bell,
    check_refused,
    estimator,
    sampler,
)
from tests.integration.gateway_support import parameters

if TYPE_CHECKING:
    from tests.integration.gateway_support import Stub


def rotation(*, measured: bool = True) -> QuantumCircuit:
    circuit = QuantumCircuit(1, 1)
    circuit.ry(Parameter("angle"), 0)
    if measured:
        circuit.measure(0, 0)
    return circuit


NAN, INFINITE = parameters([[np.nan]]), parameters([[np.inf]])
WRONG_BYTES = gateway_pb2.ParameterArray(rows=2, columns=1, values=b"\0" * 8)
PAIRS_ODD = estimator()
PAIRS_ODD.estimator.entries[0].pairs.extend([0, 0, 0])
PAIRS_FAR = estimator()
PAIRS_FAR.estimator.entries[0].pairs.extend([0, 1])
NO_OBSERVABLE = estimator()
del NO_OBSERVABLE.estimator.entries[0].observables[:]
NO_TERMS = estimator()
del NO_TERMS.estimator.entries[0].observables[0].terms[:]
MANY_TERMS = estimator()
for _ in range(100):
    MANY_TERMS.estimator.entries[0].observables[0].terms.add(pauli="ZZ", coefficient=1.0)

CASES: dict[str, BadJob] = {
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
}


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("case", CASES)
async def test_bad_entries_are_refused_with_a_sentence(strict_stub: Stub, case: str) -> None:
    await check_refused(strict_stub, CASES[case])
