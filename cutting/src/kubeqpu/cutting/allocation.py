"""Divides a budget of shots among the rows of all fragments."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from kubeqpu.cutting.errors import BudgetError
from kubeqpu.cutting.experiments import Experiments
from kubeqpu.cutting.fragments import Fragment
from kubeqpu.cutting.maps import Cut, EndKind

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
# Shots of every block's rows, per fragment.
Shots = list[list[IntArray]]

LEAST_SHOTS_PER_ROW = 20
# Share of the budget that is divided evenly, whatever the pilot says: its variances are estimates.
FLOOR = 0.2
_PILOT_FLOOR = 0.5


def check_budget(experiments: Sequence[Experiments], shots: int) -> None:
    """Refuses a budget that cannot tell anything.

    Raises:
        BudgetError: If there are fewer than 20 shots per row.
    """
    rows = sum(item.rows for item in experiments)
    needed = rows * LEAST_SHOTS_PER_ROW
    if shots < needed:
        raise BudgetError(
            f"{shots} shots are too few for {rows} local experiments. Give at least {needed}."
        )


def divide_evenly(experiments: Sequence[Experiments], shots: int) -> Shots:
    """Gives every row the same number of shots, as nearly as that goes."""
    return _divide(experiments, np.ones(sum(item.rows for item in experiments)), shots, 0.0)


def divide_by_weight(
    experiments: Sequence[Experiments],
    fragments: Sequence[Fragment],
    cuts: Sequence[Cut],
    shots: int,
) -> Shots:
    """Divides shots by the rows' marginal weights, for a pilot that knows no variances.

    A row's weight is the product over its ends of Σ |C|, the coefficients of what it tells.
    """
    weights = []
    for item, fragment in zip(experiments, fragments, strict=True):
        marginals = [_marginals(cuts[end.cut], end.side) for end in fragment.ends]
        total = [
            np.prod([table[block.settings[:, n]] for n, table in enumerate(marginals)], axis=0)
            * np.ones(len(block.settings))
            for block in item.blocks
        ]
        joined = np.concatenate(total) if total else np.zeros(0)
        weights.append(joined / max(joined.sum(), 1e-300))
    return _divide(experiments, np.concatenate(weights), shots, _PILOT_FLOOR)


def divide_by_variance(
    experiments: Sequence[Experiments],
    variances: Sequence[Sequence[FloatArray]],
    measured: Shots,
    shots: int,
) -> Shots:
    """Divides shots by Neyman's rule, n ∝ |∂E/∂m| σ, for least total variance of all results.

    Args:
        experiments: Experiments of each fragment.
        variances: Per fragment and block what each row contributes to the variance of each result
            now, shape (rows, results).
        measured: Shots that led to them.
        shots: Budget in all, with the shots measured already.

    Returns:
        Further shots of each row. Rows that have more than their share get none.
    """
    flat = [
        np.sqrt(variance.sum(axis=1) * done)
        for parts, counts in zip(variances, measured, strict=True)
        for variance, done in zip(parts, counts, strict=True)
    ]
    weights = np.concatenate(flat)
    if weights.sum() <= 0.0:
        weights = np.ones_like(weights)
    done = np.concatenate([counts for parts in measured for counts in parts])
    left = shots - int(done.sum())
    target = _shares(weights, float(shots), FLOOR)
    # Rows beyond their share keep what they have; the others share the rest.
    open_rows = np.ones(len(weights), dtype=bool)
    for _ in range(len(weights)):
        wanted = np.where(open_rows, target, 0.0)
        scale = (left + done[open_rows].sum()) / wanted.sum()
        over = open_rows & (wanted * scale < done)
        if not over.any():
            break
        open_rows &= ~over
    further = np.where(open_rows, target * scale - done, 0.0)
    return _split(experiments, _round(further, left))


def _marginals(cut: Cut, side: int) -> FloatArray:
    weights = np.asarray(np.abs(cut.matrix).sum(axis=1 - side))
    if cut.kinds[side] is EndKind.SOURCE:
        # Maps I, X, Y, Z from settings X, Y, Z: each also tells a third of the identity.
        return np.asarray(weights[1:] + weights[0] / 3.0)
    return weights


def _shares(weights: FloatArray, shots: float, floor: float) -> FloatArray:
    even = shots / len(weights)
    return np.asarray(floor * even + (1.0 - floor) * shots * weights / weights.sum())


def _divide(
    experiments: Sequence[Experiments], weights: FloatArray, shots: int, floor: float
) -> Shots:
    if not len(weights):
        return [[] for _ in experiments]
    return _split(experiments, _round(_shares(weights, float(shots), floor), shots))


def _round(shares: FloatArray, total: int) -> IntArray:
    """Rounds to whole shots that add up, largest remainders first."""
    whole = np.floor(shares).astype(np.int64)
    missing = total - int(whole.sum())
    if missing > 0:
        order = np.argsort(-(shares - whole), kind="stable")
        whole[order[: min(missing, len(order))]] += 1
    return whole


def _split(experiments: Sequence[Experiments], flat: IntArray) -> Shots:
    result: Shots = []
    position = 0
    for item in experiments:
        bounds = np.cumsum([position, *(len(block.settings) for block in item.blocks)])
        result.append([flat[start:end] for start, end in pairwise(bounds)])
        position = int(bounds[-1])
    return result
