"""Jobs as plain data become the contract's messages, or are refused in words."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from kubeqpu.client import (
    EstimatorEntry,
    EstimatorJob,
    ExecutionMode,
    InvalidRequestError,
    Options,
    ResultFormat,
    SamplerEntry,
    SamplerJob,
    Twirling,
)
from kubeqpu.client.connection import check_address, find_gateway
from kubeqpu.client.requests import write_spec
from kubeqpu.client.settings import read_settings
from kubeqpu.client.wire import write_submission
from kubeqpu.proto.v1 import gateway_pb2


@given(
    arrays(
        np.float64,
        st.tuples(st.integers(1, 5), st.integers(0, 4)),
        elements=st.floats(allow_nan=False, allow_infinity=False),
    )
)
def test_parameters_keep_shape_and_every_bit(values: NDArray[np.float64]) -> None:
    spec = write_spec(SamplerJob(circuits=b"q", entries=[SamplerEntry(10, values)]), "qpu")
    written = spec.sampler.entries[0].parameters
    read = np.frombuffer(written.values, "<f8").reshape(written.rows, written.columns)
    assert read.tobytes() == values.astype("<f8").tobytes()
    assert read.shape == values.shape


def test_fortran_order_and_integers_are_written_row_major() -> None:
    values = np.asfortranarray([[1, 2], [3, 4]])
    spec = write_spec(SamplerJob(circuits=b"q", entries=[SamplerEntry(10, values)]), "qpu")
    assert np.frombuffer(spec.sampler.entries[0].parameters.values, "<f8").tolist() == [1, 2, 3, 4]


def test_one_dimension_is_one_row_and_none_follows_the_shots() -> None:
    job = SamplerJob(
        circuits=b"q",
        entries=[SamplerEntry(10, [0.1, 0.2]), SamplerEntry(np.array([5, 6, 7])), SamplerEntry(9)],
        format=ResultFormat.BITS,
    )
    first, second, third = write_spec(job, "qpu").sampler.entries
    assert (first.parameters.rows, first.parameters.columns) == (1, 2)
    assert (second.parameters.rows, second.parameters.columns) == (3, 0)
    assert list(second.shots) == [5, 6, 7]
    assert (third.parameters.rows, list(third.shots)) == (1, [9])


def test_every_option_arrives() -> None:
    options = Options(
        transpile_level=2,
        twirling=Twirling(gates=True, randomizations=8),
        dynamical_decoupling="XY4",
        resilience_level=0,
        readout_mitigation=False,
        execution_mode=ExecutionMode.BATCH,
        execution_id="night",
    )
    job = EstimatorJob(
        circuits=b"q",
        entries=[EstimatorEntry([{"ZI": 0.5, "XX": -1}, "ZZ"], [[0.1], [0.2]], 0.1, [[0, 1]], 3)],
        exact=True,
        qpu_class="good",
        seed=2**64 - 1,
        options=options,
        merge_identical=True,
        priority=-3,
        result_ttl_seconds=90.5,
    )
    spec = write_spec(job, "ignored")
    assert spec.WhichOneof("target") == "qpu_class"
    assert spec.seed == 2**64 - 1
    assert (spec.merge_identical, spec.priority) == (True, -3)
    assert (spec.result_ttl.seconds, spec.result_ttl.nanos) == (90, 500_000_000)
    assert spec.options.transpile_level == 2
    assert spec.options.twirling == gateway_pb2.Twirling(gates=True, randomizations=8)
    assert spec.options.dynamical_decoupling.sequence == "XY4"
    # Zero and false are wishes too, unlike unset.
    assert spec.options.HasField("resilience_level")
    assert spec.options.HasField("readout_mitigation")
    assert spec.options.execution_mode == gateway_pb2.EXECUTION_MODE_BATCH
    entry = spec.estimator.entries[0]
    assert spec.estimator.exact
    assert [(term.pauli, term.coefficient) for term in entry.observables[0].terms] == [
        ("ZI", 0.5),
        ("XX", -1.0),
    ]
    assert list(entry.pairs) == [0, 1]
    assert (entry.template, entry.precision) == (3, 0.1)


def test_what_is_not_set_stays_unset() -> None:
    spec = write_spec(SamplerJob(circuits=b"q", entries=[SamplerEntry(1)]), "qpu")
    assert spec.options == gateway_pb2.Options()
    assert not spec.HasField("seed")
    assert not spec.HasField("result_ttl")


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (SamplerEntry(0), "expected 1 to"),
        (SamplerEntry(-5), "expected 1 to"),
        (SamplerEntry(2**32), "expected 1 to"),
        (SamplerEntry(1.5), "whole number"),
        (SamplerEntry([]), "whole number"),
        (SamplerEntry([1, 2], [[0.1]]), "2 numbers of shots for 1 rows"),
        (SamplerEntry(1, np.zeros((2, 2, 2))), "shape \\(2, 2, 2\\)"),
        (SamplerEntry(1, [1j]), "real numbers"),
        (SamplerEntry(1, ["a"]), "real numbers"),
        (SamplerEntry(1, template=-1), "template is -1"),
    ],
)
def test_sampler_entries_that_cannot_be_are_refused(entry: SamplerEntry, words: str) -> None:
    with pytest.raises(InvalidRequestError, match=words):
        write_spec(SamplerJob(circuits=b"q", entries=[entry]), "qpu")


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (EstimatorEntry([{}]), "no terms"),
        (EstimatorEntry([{"Z": 1j}]), "real combination"),  # type: ignore[dict-item]
        (EstimatorEntry(["Z"], pairs=[0, 0]), "shape \\(n, 2\\)"),
        (EstimatorEntry(["Z"], pairs=[[0, 1]]), "outside 1 rows and 1 observables"),
        (EstimatorEntry(["Z"], [[0.1], [0.2]], pairs=[[1, 0], [0, 0]]), "must ascend"),
    ],
)
def test_estimator_entries_that_cannot_be_are_refused(entry: EstimatorEntry, words: str) -> None:
    with pytest.raises(InvalidRequestError, match=words):
        write_spec(EstimatorJob(circuits=b"q", entries=[entry]), "qpu")


@pytest.mark.parametrize(
    ("job", "words"),
    [
        (SamplerJob(circuits=b"q", entries=[], qpu="a"), "no entries"),
        (SamplerJob(circuits=b"q", entries=[SamplerEntry(1)]), "No QPU is named"),
        (SamplerJob(circuits=b"q", entries=[SamplerEntry(1)], qpu="a", qpu_class="b"), "one of"),
        (SamplerJob(circuits=b"q", entries=[SamplerEntry(1)], qpu="a", seed=-1), "seed is -1"),
        (
            SamplerJob(
                circuits=b"q",
                entries=[SamplerEntry(1)],
                qpu="a",
                options=Options(transpile_level=1, initial_layout=[0]),
            ),
            "set one of them",
        ),
        (
            SamplerJob(
                circuits=b"q",
                entries=[SamplerEntry(1)],
                qpu="a",
                options=Options(transpile_level=4),
            ),
            "transpile_level is 4; expected a whole number from 0 to 3",
        ),
        (
            SamplerJob(circuits=b"q", entries=[SamplerEntry(1)], qpu="a", result_ttl_seconds=0),
            "positive",
        ),
    ],
)
def test_jobs_that_contradict_themselves_are_refused(job: SamplerJob, words: str) -> None:
    with pytest.raises(InvalidRequestError, match=words):
        write_spec(job, None)


def test_keys_are_made_afresh_unless_given() -> None:
    job = SamplerJob(circuits=b"q", entries=[SamplerEntry(1)])
    keys = {write_submission(job, "qpu", None).idempotency_key for _ in range(5)}
    assert len(keys) == 5
    assert write_submission(job, "qpu", "mine").idempotency_key == "mine"
    for wrong in ("", "x" * 129):
        with pytest.raises(InvalidRequestError, match="1 to 128"):
            write_submission(job, "qpu", wrong)


@pytest.mark.parametrize("address", ["localhost:7070", "10.0.0.1:1", "[::1]:7070", "unix:/a b"])
def test_addresses_of_known_form_are_kept(address: str) -> None:
    assert check_address(address) == address


@pytest.mark.parametrize(
    "address",
    ["localhost", "http://localhost:7070", "host:0", "host:65536", "unix:", "a b:1", ":7"],
)
def test_other_addresses_are_refused(address: str) -> None:
    with pytest.raises(InvalidRequestError, match="expected host:port"):
        check_address(address)


def test_environment_completes_what_the_caller_leaves_out() -> None:
    environment = {"KUBEQPU_GATEWAY": "localhost:1", "KUBEQPU_QPU": "left", "OTHER": "x"}
    settings = read_settings(environment)
    found = find_gateway(None, None, 1, 1, settings)
    assert (found.address, found.default_qpu) == ("localhost:1", "left")
    found = find_gateway("127.0.0.1:2", "right", 1, 1, settings)
    assert (found.address, found.default_qpu) == ("127.0.0.1:2", "right")
    with pytest.raises(InvalidRequestError, match="KUBEQPU_GATEWAY"):
        find_gateway(None, None, 1, 1, read_settings({"KUBEQPU_GATEWAY": ""}))
