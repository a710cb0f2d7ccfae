"""Drawing samples from probabilities, each row with a generator of its own."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kubeqpu.qpu_gateway.errors import CircuitError

# Up to this many times as many outcomes as shots, one multinomial draw is faster than
# searching the cumulative distribution once per shot.
_MULTINOMIAL_FACTOR = 8


@dataclass(frozen=True)
class Histogram:
    """How often each outcome occurred in one row.

    Attributes:
        outcomes: Classical bits, packed big-endian with bit 0 as the least significant one, in
            ascending order; of shape (outcomes, bytes).
        counts: Of shape (outcomes,), all positive.
    """

    outcomes: NDArray[np.uint8]
    counts: NDArray[np.int64]

    def shots_in_order(self, generator: np.random.Generator) -> NDArray[np.uint8]:
        """Lists the shots in a random, hence exchangeable, order; of shape (shots, bytes)."""
        # A shot sequence that is i.i.d. is its histogram in uniformly random order.
        return generator.permutation(np.repeat(self.outcomes, self.counts, axis=0), axis=0)


def row_generator(seed: int, stream: int = 0) -> np.random.Generator:
    """Makes the generator of one row.

    Args:
        seed: The row's seed, 64 bits.
        stream: Distinguishes independent draws for the same row, 64 bits.
    """
    return np.random.Generator(np.random.Philox(key=seed | (stream << 64)))


def draw(
    probabilities: NDArray[np.float64], shots: int, generator: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Draws shots from a distribution over 2^n outcomes.

    Args:
        probabilities: Of shape (2^n,); rounding errors of the simulation are normalised away.
        shots: How many.
        generator: The row's generator.

    Returns:
        Indices that occurred, ascending, and how often each did.

    Raises:
        CircuitError: If the probabilities are not finite, as with parameters that are not.
    """
    clipped = np.maximum(probabilities, 0.0)
    total = float(clipped.sum())
    if not np.isfinite(total) or total < 0.5:
        raise CircuitError(
            "The simulation gives no probabilities; the circuit's parameters or constants are not "
            "finite numbers."
        )
    if clipped.size <= _MULTINOMIAL_FACTOR * shots:
        counts = generator.multinomial(shots, clipped / total)
        (indices,) = np.nonzero(counts)
        return indices, counts[indices]
    cumulative = np.cumsum(clipped)
    points = generator.random(shots) * cumulative[-1]
    # `right` never picks an outcome of probability 0; a point rounded up to the end stays inside.
    found = np.searchsorted(cumulative, points, side="right")
    last_possible = np.flatnonzero(clipped)[-1]
    return np.unique(np.minimum(found, last_possible), return_counts=True)


def pack_indices(
    indices: NDArray[np.int64], clbits: tuple[int, ...], num_clbits: int
) -> NDArray[np.uint8]:
    """Writes outcome indices as packed classical bits.

    Args:
        indices: Outcomes; bit j is the value of classical bit `clbits[j]`.
        clbits: Measured classical bits in ascending order, at most 63.
        num_clbits: Width of all registers; bits not measured are 0.

    Returns:
        Of shape (outcomes, ceil(num_clbits / 8)), big-endian.
    """
    width = (num_clbits + 7) // 8
    if clbits == tuple(range(len(clbits))):
        octets = indices.astype(">u8").view(np.uint8).reshape(-1, 8)
        if width <= 8:
            return octets[:, 8 - width :]
        return np.concatenate([np.zeros((len(indices), width - 8), np.uint8), octets], axis=1)
    bits = np.zeros((len(indices), num_clbits), np.uint8)
    bits[:, list(clbits)] = (indices[:, None] >> np.arange(len(clbits))) & 1
    return pack_bits(bits)


def pack_bits(bits: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Packs bits of shape (outcomes, bits), bit 0 first, into big-endian bytes."""
    return np.packbits(bits, axis=1, bitorder="little")[:, ::-1]


def unpack_bits(packed: NDArray[np.uint8], num_bits: int) -> NDArray[np.uint8]:
    """Reverts `pack_bits`."""
    return np.unpackbits(packed[:, ::-1], axis=1, bitorder="little", count=num_bits)


def flip_distribution(
    probabilities: NDArray[np.float64], confusion: tuple[NDArray[np.float64] | None, ...]
) -> NDArray[np.float64]:
    """Applies readout errors to distributions over true outcomes.

    Args:
        probabilities: Of shape (rows, 2^n).
        confusion: For bit j, the matrix of P(read b | true a) at [a, b], or None without error.

    Returns:
        Distributions over read outcomes, of the same shape.
    """
    rows, size = probabilities.shape
    for bit, matrix in enumerate(confusion):
        if matrix is not None:
            # Splits the index into (higher bits, this bit, lower bits).
            split = probabilities.reshape(rows, size >> (bit + 1), 2, 1 << bit)
            probabilities = np.einsum("rhal,ab->rhbl", split, matrix).reshape(rows, size)
    return probabilities
