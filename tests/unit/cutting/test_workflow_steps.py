"""Plan, execute each fragment by itself, combine: through JSON, as workflow steps do."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from qiskit.circuit import QuantumCircuit

from kubeqpu.cutting import ExecutionError, InvalidInputError, Plan, plan, run
from kubeqpu.cutting.histograms import ReadoutError
from kubeqpu.cutting.provenance import to_json
from kubeqpu.cutting.steps import (
    FragmentDocument,
    combine_fragments,
    digest_step,
    execute_fragment,
)
from tests.support.state_vector import StateVectorExecutor


@pytest.fixture(scope="module")
def chain() -> Plan:
    circuit = QuantumCircuit(6)
    circuit.ry(0.7, range(6))
    for qubit in range(5):
        circuit.rzz(0.5, qubit, qubit + 1)
    circuit.rx(0.4, range(6))
    return plan(circuit, ["Z0 Z5", "X2 + 0.5 Z3"], 2, finder_seconds=0)


def execute_all(
    chain: Plan, executor: StateVectorExecutor, **options: Any
) -> list[FragmentDocument]:
    made = Plan.from_json(chain.to_json())
    documents = [
        execute_fragment(made, index, executor, 40_000, seed=3, **options)
        for index in range(len(made.fragments))
    ]
    return [FragmentDocument.from_json(item.to_json()) for item in documents]


def test_steps_give_the_value_within_its_error_bar(chain: Plan) -> None:
    exact = run(chain, StateVectorExecutor(), exact=True)
    result = combine_fragments(chain, execute_all(chain, StateVectorExecutor())[::-1])
    scores = (result.values - exact.values) / result.standard_errors
    assert (np.abs(scores) < 4).all()
    assert (result.standard_errors < 0.05).all()
    assert [part["shots"] for part in json.loads(to_json(result.provenance))["fragments"]] == [
        40_000
    ] * 3


def test_repeated_steps_give_equal_bytes(chain: Plan) -> None:
    first, second = (
        [item.to_json() for item in execute_all(chain, StateVectorExecutor())] for _ in range(2)
    )
    assert first == second
    assert digest_step(chain, 0, 100, 1) == digest_step(chain, 0, 100, 1)
    others = {digest_step(chain, index, shots, 1) for index in (0, 1) for shots in (100, 200)}
    assert len(others) == 4


def test_readout_errors_travel_with_the_documents(chain: Plan) -> None:
    exact = run(chain, StateVectorExecutor(), exact=True)
    noisy = StateVectorExecutor(ReadoutError(0.05, 0.1))
    mitigated = combine_fragments(chain, execute_all(chain, noisy, readout_mitigation=True))
    raw = combine_fragments(chain, execute_all(chain, noisy))
    assert (np.abs(mitigated.values - exact.values) < 4 * mitigated.standard_errors).all()
    assert np.abs(raw.values - exact.values).max() > 4 * raw.standard_errors.max()


def test_documents_that_do_not_belong_together_are_refused(chain: Plan) -> None:
    documents = execute_all(chain, StateVectorExecutor())
    with pytest.raises(ExecutionError, match=r"fragments \[0, 1\] were given"):
        combine_fragments(chain, documents[:2])
    with pytest.raises(ExecutionError, match=r"fragments \[0, 1, 1, 2\] were given"):
        combine_fragments(chain, [*documents, documents[1]])
    with pytest.raises(ExecutionError, match="another plan"):
        combine_fragments(chain, [*documents[:2], replace(documents[2], plan_digest="sha256:0")])
    with pytest.raises(ExecutionError, match="different seeds"):
        combine_fragments(chain, [*documents[:2], replace(documents[2], seed=4)])
    with pytest.raises(InvalidInputError, match="no fragment 3"):
        execute_fragment(chain, 3, StateVectorExecutor(), 1000)
