import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from kubeqpu.proto.v1 import gateway_pb2
from kubeqpu.qpu_gateway.merging import copy_results, find_copies, join_rows, pairs_by_row


def array(values: list[float]) -> gateway_pb2.ParameterArray:
    data = np.asarray(values, "<f8").tobytes()
    return gateway_pb2.ParameterArray(rows=len(values), columns=1, values=data)


def sampler(entries: list[tuple[int, list[float], list[int]]]) -> gateway_pb2.JobSpec:
    spec = gateway_pb2.JobSpec()
    spec.sampler.format = gateway_pb2.RESULT_FORMAT_BITS
    for template, values, shots in entries:
        spec.sampler.entries.add(template=template, parameters=array(values), shots=shots)
    return spec


VALUES = st.lists(st.sampled_from([0.0, -0.0, 1.0, 2.0]), min_size=1, max_size=6)


@given(st.lists(st.tuples(st.integers(0, 1), VALUES, st.sampled_from([[5], [6]])), min_size=1))
def test_copies_are_exactly_the_rows_that_repeat(
    entries: list[tuple[int, list[float], list[int]]],
) -> None:
    copies = find_copies(sampler(entries))
    keys = {
        (entry, row): (template, np.float64(value).tobytes(), shots[0])
        for entry, (template, values, shots) in enumerate(entries)
        for row, value in enumerate(values)
    }
    copied = [row for rows in copies.values() for row in rows]
    assert len(copied) == len(set(copied))
    originals = set(keys) - set(copied)
    assert len({keys[row] for row in originals}) == len(originals)
    for original, rows in copies.items():
        assert {keys[row] for row in rows} == {keys[original]}
        assert original == min([original, *rows])


def test_shots_of_rows_are_told_apart() -> None:
    spec = sampler([(0, [1.0, 1.0, 1.0], [5, 6, 5])])
    assert find_copies(spec) == {(0, 0): [(0, 2)]}


@given(st.sets(st.tuples(st.integers(0, 2), st.integers(0, 9))))
def test_joined_rows_are_the_same_rows_in_few_spans(rows: set[tuple[int, int]]) -> None:
    spans = join_rows(rows)
    assert [(s.entry, s.first_row + i) for s in spans for i in range(s.rows)] == sorted(rows)
    ends = {(s.entry, s.first_row + s.rows) for s in spans}
    assert not ends & {(s.entry, s.first_row) for s in spans}


def test_bits_of_repeated_rows_are_copied_with_their_shots() -> None:
    spec = sampler([(0, [1.0, 2.0], [2, 3]), (0, [2.0, 2.0, 1.0], [3, 3, 2])])
    chunk = gateway_pb2.ResultChunk(entry=0, first_row=0, rows=2)
    chunk.execution.qpu = "coin"
    chunk.bits.shots.extend([2, 3])
    chunk.bits.registers.add(name="a", num_bits=9, data=b"A1B2C3D4E5")
    chunk.bits.registers.add(name="b", num_bits=1, data=b"abcde")
    (copy,) = copy_results(spec, chunk, find_copies(spec))
    assert (copy.entry, copy.first_row, copy.rows, copy.execution.qpu) == (1, 0, 3, "coin")
    assert list(copy.bits.shots) == [3, 3, 2]
    assert copy.bits.registers[0].data == b"C3D4E5" + b"C3D4E5" + b"A1B2"
    assert copy.bits.registers[1].data == b"cdecdeab"


def test_rows_of_other_chunks_are_not_copied() -> None:
    spec = sampler([(0, [1.0, 2.0, 2.0], [1])])
    chunk = gateway_pb2.ResultChunk(entry=0, first_row=0, rows=1)
    chunk.bits.shots.append(1)
    assert copy_results(spec, chunk, find_copies(spec)) == []


def estimator(pairs: list[int]) -> gateway_pb2.JobSpec:
    """Makes two entries with equal values, the second with its rows in another order."""
    spec = gateway_pb2.JobSpec()
    for values, wanted in (([1.0, 2.0], pairs), ([2.0, 1.0], [1, 0, 0, 1, 1, 1])):
        entry = spec.estimator.entries.add(parameters=array(values), precision=0.1)
        entry.pairs.extend(wanted)
        for pauli in "XZ":
            entry.observables.add().terms.add(pauli=pauli, coefficient=1.0)
    return spec


def test_expectation_values_of_pairs_follow_the_order_of_the_entry() -> None:
    # Row 0 evaluates X then Z, row 1 evaluates Z, interleaved.
    spec = estimator([0, 0, 1, 1, 0, 1])
    chunk = gateway_pb2.ResultChunk(entry=0, first_row=0, rows=2)
    chunk.expectation.values.extend([0.1, 0.2, 0.3])
    chunk.expectation.variances.extend([1.0, 2.0, 3.0])
    chunk.expectation.shots.extend([10, 20])
    (copy,) = copy_results(spec, chunk, find_copies(spec))
    assert (copy.entry, copy.first_row, copy.rows) == (1, 0, 2)
    # Entry 1 asks for (1, X), (0, Z), (1, Z); its row 1 is entry 0's row 0.
    assert list(copy.expectation.values) == [0.1, 0.2, 0.3]
    assert list(copy.expectation.variances) == [1.0, 2.0, 3.0]
    assert list(copy.expectation.shots) == [20, 10]


def test_rows_with_other_observables_are_not_identical() -> None:
    spec = estimator([0, 0, 1, 0, 1, 1])
    assert find_copies(spec) == {}


def test_every_row_with_every_observable_without_pairs() -> None:
    spec = estimator([])
    del spec.estimator.entries[1].pairs[:]
    assert pairs_by_row(spec.estimator.entries[0]) == [[0, 1], [0, 1]]
    chunk = gateway_pb2.ResultChunk(entry=0, first_row=0, rows=2)
    chunk.expectation.values.extend([1, 2, 3, 4])
    chunk.expectation.variances.extend([5, 6, 7, 8])
    chunk.expectation.shots.extend([10, 20])
    (copy,) = copy_results(spec, chunk, find_copies(spec))
    assert list(copy.expectation.values) == [3, 4, 1, 2]
