"""Tensors of fragments from measured rows, and the variance they bring into the result.

Statistical error only: what shots explain. Errors of the device are not in it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kubeqpu.cutting.experiments import Block, Experiments
from kubeqpu.cutting.histograms import (
    FloatArray,
    Histogram,
    IntArray,
    ReadoutError,
    mitigated_signs,
    signs,
)


@dataclass(frozen=True)
class _Rows:
    """A block's rows with their parities evaluated."""

    block: Block
    values: FloatArray  # (lines, parities)
    counts: FloatArray  # (lines,)
    bounds: IntArray  # (rows + 1,): lines of row r are bounds[r]:bounds[r + 1]
    shots: FloatArray  # (rows,)
    means: FloatArray  # (rows, parities)
    excess: FloatArray  # (rows, parities): what the posterior adds to the variance of a mean


class FragmentEstimate:
    """A fragment's tensor with what is needed for its error."""

    def __init__(
        self,
        experiments: Experiments,
        histograms: Sequence[Histogram],
        readout: Sequence[Sequence[ReadoutError]] | None = None,
    ) -> None:
        """Reduces histograms.

        Rows that tell the same element are pooled in proportion to their shots, which is the best
        weighting since they measure the same expectation value.

        Args:
            experiments: The fragment's experiments.
            histograms: One per block.
            readout: Confusion of the classical bits per block; without, outcomes count as read.
        """
        self._experiments = experiments
        size = int(np.prod(experiments.shape))
        self._shots = np.zeros(size)
        total = np.zeros(size)
        self._rows = []
        for index, (block, histogram) in enumerate(
            zip(experiments.blocks, histograms, strict=True)
        ):
            rows = _evaluate(block, histogram, readout[index] if readout else None)
            self._rows.append(rows)
            flat = block.elements.ravel()
            weights = np.repeat(rows.shots, block.elements.shape[1])
            self._shots += np.bincount(flat, weights, size)
            total += np.bincount(flat, weights * rows.means.ravel(), size)
        tensor = np.divide(total, self._shots, out=np.zeros(size), where=self._shots > 0)
        tensor[experiments.ones] = 1.0
        self.tensor = tensor.reshape(experiments.shape)

    def variances(self, gradients: FloatArray) -> list[FloatArray]:
        """Propagates the rows' variances to the results by the delta method.

        A row's parities are correlated, and one row may be used in many terms, so its variance is
        that of h(x) = Σ ∂E/∂m_p (−1)^p(x) over its outcomes x, not a sum over parities or terms.
        Near ±1, where the plug-in variance is too small, the variance under a Beta(1, 1) prior
        takes its place.

        Args:
            gradients: Shape (elements, results): derivative of each result by each element.

        Returns:
            Per block the contribution of each row to the variance of each result, shape
            (rows, results).
        """
        return [self._propagate(rows, gradients) for rows in self._rows]

    def _propagate(self, rows: _Rows, gradients: FloatArray) -> FloatArray:
        result = np.empty((len(rows.shots), gradients.shape[1]))
        for row, elements in enumerate(rows.block.elements):
            lines = slice(rows.bounds[row], rows.bounds[row + 1])
            shots = rows.shots[row]
            share = shots / self._shots[elements]
            slope = gradients[elements] * share[:, None]
            spread = (rows.values[lines] - rows.means[row]) @ slope
            plug_in = rows.counts[lines] @ spread**2 / (shots * max(shots - 1.0, 1.0))
            result[row] = plug_in + rows.excess[row] @ slope**2
        return result


def element_gradients(
    by_term: FloatArray, terms: Sequence[int], observables: int, weights: FloatArray
) -> FloatArray:
    """Turns derivatives of Pauli terms into derivatives of results, per element.

    Args:
        by_term: Shape (maps..., terms), from `Network.gradients`.
        terms: The fragment's observable of each term.
        observables: How many observables the fragment has.
        weights: Shape (results, terms): results are these sums of terms.

    Returns:
        Shape (elements, results), elements in the order of the fragment's tensor.
    """
    flat = by_term.reshape(-1, by_term.shape[-1])
    result = np.empty((len(flat), observables, len(weights)))
    owners = np.asarray(terms)
    for observable in range(observables):
        mine = np.flatnonzero(owners == observable)
        result[:, observable] = flat[:, mine] @ weights[:, mine].T
    return result.reshape(-1, len(weights))


def _evaluate(block: Block, histogram: Histogram, readout: Sequence[ReadoutError] | None) -> _Rows:
    count = len(block.settings)
    bounds = np.searchsorted(histogram.rows, np.arange(count + 1))
    counts = histogram.counts.astype(np.float64)
    read = signs(histogram.outcomes, block.parities)
    values = (
        read if readout is None else mitigated_signs(histogram.outcomes, block.parities, readout)
    )
    shots = histogram.shots(count).astype(np.float64)
    means = _row_means(values, counts, bounds, shots)
    raw = means if readout is None else _row_means(read, counts, bounds, shots)
    excess = _posterior_excess(raw, shots[:, None])
    if readout is not None:
        scales = [
            np.prod([error.scale for bit, error in enumerate(readout) if mask >> bit & 1])
            for mask in block.parities
        ]
        excess = excess / np.square(scales)
    return _Rows(block, values, counts, bounds, shots, means, excess)


def _row_means(
    values: FloatArray, counts: FloatArray, bounds: IntArray, shots: FloatArray
) -> FloatArray:
    sums = np.zeros((len(shots), values.shape[1]))
    filled = bounds[:-1] < bounds[1:]
    if filled.any():
        sums[filled] = np.add.reduceat(values * counts[:, None], bounds[:-1][filled], axis=0)
    return sums / np.maximum(shots, 1.0)[:, None]


def _posterior_excess(means: FloatArray, shots: FloatArray) -> FloatArray:
    """How much the Beta(1, 1) posterior variance of a mean exceeds the plug-in variance, or 0."""
    shots = np.maximum(shots, 1.0)
    ups = shots * (1.0 + means) / 2.0
    posterior = 4.0 * (ups + 1.0) * (shots - ups + 1.0) / ((shots + 2.0) ** 2 * (shots + 3.0))
    plug_in = (1.0 - means**2) / np.maximum(shots - 1.0, 1.0)
    return np.maximum(posterior - plug_in, 0.0)
