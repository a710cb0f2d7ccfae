"""From replays to figures: means over seeds with their confidence intervals."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from tests.benchmarks.placement_replay import Outcome
from tests.benchmarks.report import Raw

Floats = NDArray[np.float64]
LARGEST_LOSS = 0.03


@dataclass(frozen=True)
class Summary:
    """One replay in numbers.

    Attributes:
        mean_seconds: Mean completion time, from a pod's creation to its results.
        p95_seconds: 95th percentile of it.
        pending_seconds: Mean time without a slot.
        fidelity: Mean over pods of the fidelity that their circuits reached.
        utilisation: Mean over QPUs of the share of time that each computed for anyone.
    """

    mean_seconds: float
    p95_seconds: float
    pending_seconds: float
    fidelity: float
    utilisation: float


def summarise(outcome: Outcome) -> Summary:
    """Reduces a replay to numbers."""
    completion = np.array([stay.completion_seconds for stay in outcome.stays])
    return Summary(
        mean_seconds=float(completion.mean()),
        p95_seconds=float(np.quantile(completion, 0.95)),
        pending_seconds=float(np.mean([stay.bound - stay.created for stay in outcome.stays])),
        fidelity=float(np.mean([stay.fidelity for stay in outcome.stays])),
        utilisation=float(np.mean(outcome.busy)),
    )


@dataclass(frozen=True)
class Interval:
    """A value and the half-width of its 95 % confidence interval."""

    value: float
    half: float

    def as_raw(self) -> Raw:
        """Writes it down."""
        return {"value": self.value, "ci95": self.half}


def estimate(function: Callable[[Floats], float], samples: Floats) -> Interval:
    """Estimates a function of means over seeds, with the interval of the jackknife.

    Args:
        function: Of the means of the columns.
        samples: A row per seed, a column per quantity; at least two rows.
    """
    count = len(samples)
    value = function(samples.mean(axis=0))
    left_out = np.array(
        [function(np.delete(samples, row, axis=0).mean(axis=0)) for row in range(count)]
    )
    variance = (count - 1) / count * float(((left_out - left_out.mean()) ** 2).sum())
    return Interval(value, float(stats.t.ppf(0.975, count - 1)) * math.sqrt(variance))


def estimate_mean(values: Sequence[float]) -> Interval:
    """Estimates a mean over seeds."""
    return estimate(lambda means: float(means[0]), np.array(values)[:, None])


def estimate_reduction(values: Sequence[float], reference: Sequence[float]) -> Interval:
    """Estimates by which share a mean over seeds lies below another over the same seeds."""
    return estimate(
        lambda means: float(1 - means[0] / means[1]), np.column_stack([values, reference])
    )


@dataclass(frozen=True)
class Standing:
    """A policy in one regime.

    Attributes:
        name: Name of the policy.
        summaries: One per seed.
        seconds: Mean completion time.
        p95_seconds: 95th percentile of it.
        fidelity: Mean fidelity reached.
        reduction: 1 - mean completion time over that of blind choice.
        reduction_vs_fidelity_only: The same against the choice by fidelity only.
        loss: 1 - fidelity over that of the choice by fidelity only.
    """

    name: str
    summaries: tuple[Summary, ...]
    seconds: Interval
    p95_seconds: Interval
    fidelity: Interval
    reduction: Interval
    reduction_vs_fidelity_only: Interval
    loss: Interval

    def as_raw(self) -> dict[str, Raw]:
        """Writes it down, with the means of every seed."""
        names = ("p95_seconds", "pending_seconds", "utilisation")
        rest: dict[str, Raw] = {
            f"mean_{name}": estimate_mean([getattr(item, name) for item in self.summaries]).as_raw()
            for name in names
        }
        return {
            "mean_completion_seconds": self.seconds.as_raw(),
            "mean_fidelity": self.fidelity.as_raw(),
            "completion_time_reduction": self.reduction.as_raw(),
            "completion_time_reduction_vs_fidelity_only": self.reduction_vs_fidelity_only.as_raw(),
            "fidelity_loss": self.loss.as_raw(),
            **rest,
            "mean_completion_seconds_by_seed": [item.mean_seconds for item in self.summaries],
            "mean_fidelity_by_seed": [item.fidelity for item in self.summaries],
        }


def compare(
    found: Mapping[str, Sequence[Summary]], blind: str, fidelity_only: str
) -> dict[str, Standing]:
    """Compares policies that were replayed on the same traces.

    Args:
        found: Summaries by policy, in the order of the seeds.
        blind: Name of the policy that completion times are compared with.
        fidelity_only: Name of the policy that fidelities are compared with.
    """
    seconds = {name: [item.mean_seconds for item in items] for name, items in found.items()}
    fidelity = {name: [item.fidelity for item in items] for name, items in found.items()}
    return {
        name: Standing(
            name=name,
            summaries=tuple(items),
            seconds=estimate_mean(seconds[name]),
            p95_seconds=estimate_mean([item.p95_seconds for item in items]),
            fidelity=estimate_mean(fidelity[name]),
            reduction=estimate_reduction(seconds[name], seconds[blind]),
            reduction_vs_fidelity_only=estimate_reduction(seconds[name], seconds[fidelity_only]),
            loss=estimate_reduction(fidelity[name], fidelity[fidelity_only]),
        )
        for name, items in found.items()
    }


def choose_point(standings: Sequence[Standing]) -> Standing | None:
    """Picks the shortest completion time of those that lose at most 3 % of fidelity, if any."""
    kept = [item for item in standings if item.loss.value <= LARGEST_LOSS]
    return min(kept, key=lambda item: item.seconds.value) if kept else None
