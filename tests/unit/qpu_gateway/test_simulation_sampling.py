"""Samples follow their distribution, and results are laid out as Qiskit lays them out."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister
from qiskit.primitives import BitArray
from scipy.stats import chisquare

from kubeqpu.qpu_gateway.errors import CircuitError
from kubeqpu.qpu_gateway.simulation.results import bits_result, counts_result
from kubeqpu.qpu_gateway.simulation.sampling import (
    Histogram,
    draw,
    flip_distribution,
    pack_bits,
    pack_indices,
    row_generator,
    unpack_bits,
)


@given(
    bits=st.integers(1, 30).flatmap(
        lambda n: st.lists(st.lists(st.integers(0, 1), min_size=n, max_size=n), min_size=1)
    )
)
def test_packed_bits_are_unpacked(bits: list[list[int]]) -> None:
    given_bits = np.array(bits, dtype=np.uint8)
    packed = pack_bits(given_bits)
    assert (unpack_bits(packed, given_bits.shape[1]) == given_bits).all()
    values = [sum(bit << place for place, bit in enumerate(row)) for row in bits]
    assert [int.from_bytes(row.tobytes(), "big") for row in packed] == values


@given(data=st.data(), num_clbits=st.integers(1, 80))
def test_indices_are_packed_onto_their_classical_bits(data: st.DataObject, num_clbits: int) -> None:
    positions = st.sets(st.integers(0, num_clbits - 1), min_size=1, max_size=20)
    clbits = tuple(sorted(data.draw(positions)))
    values = st.integers(0, 2 ** len(clbits) - 1)
    indices = np.array(sorted(data.draw(st.sets(values, min_size=1))), dtype=np.int64)
    packed = pack_indices(indices, clbits, num_clbits)
    written = [int.from_bytes(row.tobytes(), "big") for row in packed]
    assert written == [
        sum(1 << clbit for place, clbit in enumerate(clbits) if index >> place & 1)
        for index in indices.tolist()
    ]
    assert written == sorted(written)


# Many shots take the multinomial way, few take the other.
@pytest.mark.parametrize(("bits", "shots"), [(4, 40_000), (10, 100)])
def test_draws_follow_the_distribution(bits: int, shots: int) -> None:
    probabilities = np.random.default_rng(1).dirichlet(np.full(2**bits, 0.5))
    probabilities[3] = 0.0
    probabilities /= probabilities.sum()
    total = np.zeros(2**bits)
    repeats = 40_000 // shots
    for seed in range(repeats):
        indices, counts = draw(probabilities, shots, row_generator(seed))
        assert counts.sum() == shots
        assert (np.diff(indices) > 0).all()
        total[indices] += counts
    assert total[3] == 0
    expected = probabilities * shots * repeats
    common = expected > 5
    rest_seen, rest_expected = total[~common].sum(), expected[~common].sum()
    seen = [*total[common], rest_seen] if rest_expected else total[common]
    wanted = [*expected[common], rest_expected] if rest_expected else expected[common]
    assert chisquare(seen, wanted, sum_check=False).pvalue > 1e-3


def test_probabilities_that_are_not_numbers_are_refused() -> None:
    with pytest.raises(CircuitError, match="not finite"):
        draw(np.array([np.nan, 0.5]), 10, row_generator(1))


@given(seed=st.integers(0, 2**64 - 1), stream=st.integers(0, 2**63))
def test_generators_differ_by_seed_and_stream(seed: int, stream: int) -> None:
    first = row_generator(seed, stream).random(4)
    assert (row_generator(seed, stream).random(4) == first).all()
    assert (row_generator(seed, stream + 1).random(4) != first).any()
    assert (row_generator(seed ^ 1, stream).random(4) != first).any()


def test_bits_are_laid_out_like_bit_arrays_per_register() -> None:
    registers = [ClassicalRegister(3, "a"), ClassicalRegister(9, "b")]
    circuit = QuantumCircuit(QuantumRegister(1, "q"), *registers)
    values = {0b101010101_110: 3, 0b000000001_011: 2}
    outcomes = np.array(
        [list(value.to_bytes(2, "big")) for value in sorted(values)], dtype=np.uint8
    )
    rows = [Histogram(outcomes, np.array([values[value] for value in sorted(values)]))] * 2
    found = bits_result(rows, np.array([1, 2], dtype=np.uint64), circuit)
    assert list(found.shots) == [5, 5]
    for register, shift in zip(found.registers, (0, 3), strict=True):
        mask = (1 << register.num_bits) - 1
        width = (register.num_bits + 7) // 8
        data = np.frombuffer(register.data, np.uint8).reshape(2, 5, width)
        for row in range(2):
            counts = BitArray(data[row], register.num_bits).get_int_counts()
            assert counts == {value >> shift & mask: number for value, number in values.items()}


def test_the_order_of_shots_is_uniformly_random() -> None:
    outcomes = np.array([[0], [1]], dtype=np.uint8)
    row = Histogram(outcomes, np.array([1, 3]))
    places = [
        int(np.flatnonzero(row.shots_in_order(row_generator(seed))[:, 0] == 0)[0])
        for seed in range(4000)
    ]
    assert chisquare(np.bincount(places, minlength=4)).pvalue > 1e-3


def test_counts_are_written_in_ascending_order() -> None:
    row = Histogram(np.array([[0, 7], [1, 0]], dtype=np.uint8), np.array([4, 6]))
    found = counts_result([row], 9)
    assert found.num_clbits == 9
    assert found.rows[0].outcomes == b"\0\7\1\0"
    assert list(found.rows[0].counts) == [4, 6]


def test_readout_errors_act_on_their_own_bits() -> None:
    up, down = 0.1, 0.3
    matrix = np.array([[1 - up, up], [down, 1 - down]])
    exact = np.zeros((1, 8))
    exact[0, 0b101] = 1.0
    read = flip_distribution(exact, (None, matrix, matrix))
    assert read[0, 0b101] == pytest.approx((1 - up) * (1 - down))
    assert read[0, 0b111] == pytest.approx(up * (1 - down))
    assert read[0, 0b001] == pytest.approx((1 - up) * down)
    assert read[0, ::2].sum() == 0
