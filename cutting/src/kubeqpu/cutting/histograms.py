"""What rows of a block measured: outcomes and how often each occurred."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
Words = npt.NDArray[np.uint64]

WORD_BITS = 64


@dataclass(frozen=True)
class Histogram:
    """Outcomes of a block's rows, one line per row and distinct outcome, sorted by row.

    Attributes:
        rows: Row of each line.
        outcomes: Shape (lines, words): the classical bits, clbit 0 the lowest bit of word 0.
        counts: How often the outcome occurred.
    """

    rows: IntArray
    outcomes: Words
    counts: IntArray

    def shots(self, rows: int) -> IntArray:
        """Counts the shots of each of a block's rows."""
        return np.bincount(self.rows, weights=self.counts, minlength=rows).astype(np.int64)


@dataclass(frozen=True)
class ReadoutError:
    """Confusion of one classical bit.

    Attributes:
        prob_meas1_prep0: Probability to read 1 after preparing 0.
        prob_meas0_prep1: Probability to read 0 after preparing 1.
    """

    prob_meas1_prep0: float
    prob_meas0_prep1: float

    @property
    def scale(self) -> float:
        """Factor by which the error shrinks the expectation value of Z."""
        return 1.0 - self.prob_meas1_prep0 - self.prob_meas0_prep1

    @property
    def offset(self) -> float:
        """What the error adds to the expectation value of Z."""
        return self.prob_meas0_prep1 - self.prob_meas1_prep0


def merge(parts: Sequence[Histogram]) -> Histogram:
    """Pools histograms of the same rows; at least one."""
    rows = np.concatenate([part.rows for part in parts])
    order = np.argsort(rows, kind="stable")
    return Histogram(
        rows[order],
        np.concatenate([part.outcomes for part in parts])[order],
        np.concatenate([part.counts for part in parts])[order],
    )


def pack_outcomes(outcomes: Sequence[int], bits: int) -> Words:
    """Writes outcomes given as integers into words, shape (outcomes, words)."""
    words = max(1, -(-bits // WORD_BITS))
    data = b"".join(outcome.to_bytes(words * 8, "little") for outcome in outcomes)
    return np.frombuffer(data, dtype="<u8").reshape(len(outcomes), words)


def signs(outcomes: Words, parities: Sequence[int]) -> FloatArray:
    """Returns (−1)^(parity of the bits), shape (lines, parities)."""
    width = outcomes.shape[1]
    masks = pack_outcomes(parities, width * WORD_BITS)
    odd = np.zeros((len(outcomes), len(parities)), dtype=np.uint8)
    for word in range(width):
        odd ^= np.bitwise_count(outcomes[:, word, None] & masks[None, :, word])
    return 1.0 - 2.0 * (odd & 1).astype(np.float64)


def mitigated_signs(
    outcomes: Words, parities: Sequence[int], readout: Sequence[ReadoutError]
) -> FloatArray:
    """Returns unbiased estimators of the parities under independent readout errors.

    A bit that reads s = ±1 has E[s] = offset + scale·Z, so Π (s − offset) / scale over the bits of
    a parity has the parity's true value as its mean. The price is a larger variance.

    Args:
        outcomes: Shape (lines, words).
        parities: Which bits make up each parity.
        readout: Confusion of each classical bit.

    Returns:
        Shape (lines, parities).
    """
    values = np.ones((len(outcomes), len(parities)))
    for bit, error in enumerate(readout):
        users = [index for index, mask in enumerate(parities) if mask >> bit & 1]
        if users:
            read = signs(outcomes, [1 << bit])
            values[:, users] *= (read - error.offset) / error.scale
    return values
