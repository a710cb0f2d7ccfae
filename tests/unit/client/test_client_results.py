"""Streams become arrays: every row once and in place, whatever way it came."""

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubeqpu.client import Counts, Expectations, InvalidRequestError, JobRecord, ProtocolError
from kubeqpu.client.decoding import Inbox, read_chunk
from kubeqpu.client.records import read_record
from kubeqpu.client.results import assemble
from kubeqpu.proto.v1 import gateway_pb2

Row = dict[int, int]


def counts_chunk(entry: int, first: int, rows: list[Row], clbits: int) -> gateway_pb2.ResultChunk:
    size = -(-clbits // 8)
    chunk = gateway_pb2.ResultChunk(entry=entry, first_row=first, rows=len(rows))
    chunk.counts.num_clbits = clbits
    for row in rows:
        outcomes = sorted(row)
        chunk.counts.rows.add(
            outcomes=b"".join(outcome.to_bytes(size, "big") for outcome in outcomes),
            counts=[row[outcome] for outcome in outcomes],
        )
    return chunk


def finished(circuits: int) -> JobRecord:
    return read_record(
        gateway_pb2.Job(id="j", state=gateway_pb2.JOB_STATE_SUCCEEDED, circuits=circuits)
    )


@st.composite
def sampled_rows(draw: st.DrawFn) -> tuple[int, list[Row]]:
    clbits = draw(st.integers(1, 70))
    row = st.dictionaries(st.integers(0, 2**clbits - 1), st.integers(1, 2**31), max_size=5)
    return clbits, draw(st.lists(row, min_size=1, max_size=8))


@given(sampled_rows(), st.integers(1, 4), st.randoms())
def test_counts_survive_chunks_in_any_order_and_repeated(
    job: tuple[int, list[Row]], size: int, order: random.Random
) -> None:
    clbits, rows = job
    chunks = [
        counts_chunk(0, first, rows[first : first + size], clbits)
        for first in range(0, len(rows), size)
    ]
    sent = chunks + chunks[: len(chunks) // 2]
    order.shuffle(sent)
    inbox = Inbox()
    accepted = [inbox.accept(gateway_pb2.StreamResultsResponse(chunk=chunk)) for chunk in sent]
    result = assemble(finished(len(rows)), [chunk for chunk in accepted if chunk is not None])
    counts = result.entries[0].counts
    assert [counts.row(index) for index in range(counts.rows)] == rows
    assert counts.shots.tolist() == [sum(row.values()) for row in rows]
    if clbits <= 64:
        assert counts.to_integers().tolist() == [value for row in rows for value in sorted(row)]
    else:
        with pytest.raises(InvalidRequestError, match="numpy hold 64"):
            counts.to_integers()


def test_rows_with_different_shots_keep_their_bits() -> None:
    chunk = gateway_pb2.ResultChunk(entry=0, first_row=0, rows=2)
    chunk.bits.shots.extend([1, 2])
    chunk.bits.registers.add(name="a", num_bits=9, data=bytes([1, 2, 0, 3, 1, 255]))
    chunk.bits.registers.add(name="b", num_bits=1, data=bytes([1, 0, 1]))
    bits = read_chunk(chunk).bits
    assert bits.num_bits == {"a": 9, "b": 1}
    assert bits.row("a", 0).tolist() == [[1, 2]]
    assert bits.row("a", 1).tolist() == [[0, 3], [1, 255]]
    assert bits.row("b", 1).tolist() == [[0], [1]]
    assert bits.shots.tolist() == [1, 2]


def test_joined_bits_and_expectations_follow_the_rows() -> None:
    parts = []
    for first in (1, 0):
        chunk = gateway_pb2.ResultChunk(entry=0, first_row=first, rows=1)
        chunk.bits.shots.append(2)
        chunk.bits.registers.add(name="a", num_bits=1, data=bytes([first, 1]))
        parts.append(read_chunk(chunk))
        chunk = gateway_pb2.ResultChunk(entry=1, first_row=first, rows=1)
        chunk.expectation.values.extend([first + 0.5, first + 0.25])
        chunk.expectation.variances.extend([0.1, 0.2])
        chunk.expectation.shots.append(10 + first)
        chunk.execution.qpu = f"q{first}"
        parts.append(read_chunk(chunk))
    sampled, second = assemble(finished(4), parts).entries
    assert sampled.bits.row("a", 0).ravel().tolist() == [0, 1]
    assert sampled.bits.row("a", 1).ravel().tolist() == [1, 1]
    assert second.expectations.values.tolist() == [0.5, 0.25, 1.5, 1.25]
    assert second.expectations.variances.tolist() == [0.1, 0.2, 0.1, 0.2]
    assert second.expectations.shots.tolist() == [10, 11]
    assert [(row, found.qpu) for row, found in second.executions] == [(0, "q0"), (1, "q1")]


def test_missing_rows_and_entries_are_noticed() -> None:
    second = read_chunk(counts_chunk(0, 1, [{0: 1}], 1))
    with pytest.raises(ProtocolError, match="results of 1 came"):
        assemble(finished(2), [second])
    with pytest.raises(ProtocolError, match=r"gaps: \[0\]"):
        assemble(finished(1), [second])
    first = read_chunk(counts_chunk(0, 0, [{0: 1}], 1))
    with pytest.raises(ProtocolError, match="2 circuits, but results of 1 came"):
        assemble(finished(2), [first])
    other = read_chunk(counts_chunk(1, 0, [{0: 1}], 1))
    with pytest.raises(ProtocolError):
        assemble(finished(1), [other])


def test_chunks_that_contradict_themselves_or_each_other_are_refused() -> None:
    wrong = counts_chunk(0, 0, [{1: 2}], 1)
    wrong.counts.rows[0].counts.append(3)
    with pytest.raises(ProtocolError, match="contradicts itself"):
        read_chunk(wrong)
    wrong = counts_chunk(0, 0, [{1: 2}], 1)
    wrong.rows = 2
    with pytest.raises(ProtocolError, match="data of 1 rows"):
        read_chunk(wrong)
    with pytest.raises(ProtocolError, match="does not know"):
        read_chunk(gateway_pb2.ResultChunk(rows=1))
    inbox = Inbox()
    inbox.accept(gateway_pb2.StreamResultsResponse(chunk=counts_chunk(0, 0, [{0: 1}] * 2, 1)))
    overlap = gateway_pb2.StreamResultsResponse(chunk=counts_chunk(0, 1, [{0: 1}] * 2, 1))
    with pytest.raises(ProtocolError, match="sent some of them"):
        inbox.accept(overlap)


def test_asking_for_another_kind_of_data_names_what_is_there() -> None:
    chunk = read_chunk(counts_chunk(0, 0, [{0: 1}], 1))
    with pytest.raises(TypeError, match="holds Counts, not Bits"):
        _ = chunk.bits
    with pytest.raises(TypeError, match="holds Counts, not Expectations"):
        _ = chunk.expectations
    assert isinstance(chunk.counts, Counts)
    expectation = gateway_pb2.ResultChunk(rows=1)
    expectation.expectation.shots.append(1)
    found = read_chunk(expectation)
    assert isinstance(found.expectations, Expectations)
    with pytest.raises(TypeError, match="holds Expectations, not Counts"):
        _ = found.counts


def test_a_state_of_a_newer_gateway_is_named() -> None:
    with pytest.raises(ProtocolError, match=r"state 77.*update"):
        read_record(gateway_pb2.Job(id="j", state=77))  # type: ignore[arg-type]
    assert np.isfinite(finished(1).qpu_seconds)
