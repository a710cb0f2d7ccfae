"""The figures of all QPUs in columns, so that all of them are scored at once.

It is the score of `kubeqpu.common.placement`, which explains one QPU, for a thousand of them in
some ten microseconds; a test holds the two together.
"""

import math
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from kubeqpu.common.placement import CircuitShape, Weights
from kubeqpu.common.placement.score import (
    HALVING_AGE_SECONDS,
    HALVING_WAIT_SECONDS,
    SMALLEST_PART,
)
from kubeqpu.common.qpu import QPU

Floats = NDArray[np.float64]

_WAIT, _UTILISATION, _TWO_QUBIT_ERROR, _READOUT_ERROR, _CALIBRATED_AT = range(5)
_SMALLEST = math.log(SMALLEST_PART)


class Columns:
    """One row for each QPU; the owner says which."""

    def __init__(self) -> None:
        self._figures: Floats = np.zeros((5, 16))

    def write(self, row: int, qpu: QPU) -> None:
        """Writes a QPU's figures into its row."""
        if row >= self._figures.shape[1]:
            self._figures = np.hstack([self._figures, np.zeros_like(self._figures)])
        wait = max(0.0, qpu.queue.estimated_wait_seconds) / HALVING_WAIT_SECONDS
        free = max(0.0, 1.0 - qpu.slots_held / qpu.slots) if qpu.slots > 0 else 0.0
        calibration = qpu.calibration
        self._figures[:, row] = (
            max(-math.log1p(wait), _SMALLEST),
            math.log(max(free, SMALLEST_PART)),
            calibration.median_two_qubit_error if calibration else 0.0,
            calibration.median_readout_error if calibration else 0.0,
            # What has no errors is as good as calibrated at all times.
            calibration.time.timestamp() if calibration else math.inf,
        )

    def score(self, rows: int, weights: Weights, shape: CircuitShape, now: datetime) -> Floats:
        """Scores the first rows for work of a given shape.

        Returns:
            The totals, in [0, 1] with 1 best, by row.
        """
        figures = self._figures[:, :rows]
        fidelity = -(
            shape.two_qubit_gates * figures[_TWO_QUBIT_ERROR]
            + shape.measurements * figures[_READOUT_ERROR]
        )
        ages = np.maximum(now.timestamp() - figures[_CALIBRATED_AT], 0.0)
        freshness = ages * (-math.log(2) / HALVING_AGE_SECONDS)
        logarithm = (
            weights.wait * figures[_WAIT]
            + weights.fidelity * np.maximum(fidelity, _SMALLEST)
            + weights.freshness * np.maximum(freshness, _SMALLEST)
            + weights.utilisation * figures[_UTILISATION]
        )
        total = weights.wait + weights.fidelity + weights.freshness + weights.utilisation
        totals: Floats = np.exp(logarithm / total)
        return totals
