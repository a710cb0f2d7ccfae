"""Draws completion time against fidelity, one panel per regime."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator, StrMethodFormatter

from tests.benchmarks.placement_policies import (
    BLIND,
    FIDELITY_ONLY,
    KUBEQPU,
    LEAST_ALLOCATED,
    QUEUE_ONLY,
    SWEEP,
    Policy,
)
from tests.benchmarks.placement_regimes import Regime
from tests.benchmarks.placement_results import Standing

COLUMNS = 3
# An axis spans at least a factor of e^1.2 of time, and a tenth of fidelity.
LEAST_RATIO, LEAST_DIFFERENCE = 1.2, 0.1
# In shares of the panel.
LEAST_APART = 0.25
FRONT = "#0b6e99"


@dataclass(frozen=True)
class _Mark:
    policy: Policy
    label: str
    marker: str
    colour: str
    size: float


MARKS = (
    _Mark(BLIND, "blind (default scheduler)", "X", "#777777", 8),
    _Mark(LEAST_ALLOCATED, "least allocated", "s", "#b08a2e", 7),
    _Mark(QUEUE_ONLY, "queue only", "<", "#2a8a57", 8),
    _Mark(FIDELITY_ONLY, "fidelity only", "^", "#b3387a", 8),
    _Mark(KUBEQPU, "kubeqpu, default weights", "*", "#c2571a", 14),
)


def draw(
    regimes: Sequence[Regime], standings: Mapping[str, Mapping[str, Standing]], path: Path
) -> None:
    """Draws every policy of every regime.

    Args:
        regimes: One panel each, in this order.
        standings: By regime and policy.
        path: PNG file to write; its folder is made if missing.
    """
    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415 - the backend is chosen first

    rows = -(-len(regimes) // COLUMNS)
    figure, axes = plt.subplots(
        rows, COLUMNS, figsize=(4.1 * COLUMNS, 1.6 + 2.9 * rows), squeeze=False
    )
    for axis, regime in zip(axes.flat, regimes, strict=False):
        _draw_panel(axis, regime, standings[regime.name])
    for axis in axes.flat[len(regimes) :]:
        axis.set_visible(False)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.suptitle(
        "Where pods go decides how long they take and how good their results are:\n"
        "up and to the left is better",
        fontsize=13,
    )
    figure.supxlabel("mean completion time in minutes, logarithmic", fontsize=11, y=0.05)
    figure.supylabel("mean fidelity reached", fontsize=11)
    figure.legend(handles, labels, loc="lower center", ncols=3, frameon=False, fontsize=10)
    figure.tight_layout(rect=(0.01, 0.06, 1, 0.99))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _draw_panel(axis: Axes, regime: Regime, standings: Mapping[str, Standing]) -> None:
    swept = sorted((*SWEEP, KUBEQPU), key=_fidelity_weight)
    front = [standings[policy.name] for policy in swept]
    axis.plot(
        [item.seconds.value / 60 for item in front],
        [item.fidelity.value for item in front],
        "o-", color=FRONT, markersize=4, linewidth=1.2,
        label="kubeqpu, weight of fidelity from 0.25 to 16",
    )  # fmt: skip
    for mark in MARKS:
        standing = standings[mark.policy.name]
        axis.errorbar(
            standing.seconds.value / 60, standing.fidelity.value,
            fmt=mark.marker, color=mark.colour, markersize=mark.size, linestyle="none",
            markeredgecolor="white", markeredgewidth=0.8, label=mark.label, zorder=3,
        )  # fmt: skip
    _scale(axis, list(standings.values()))
    _label_ends(axis, standings)
    axis.set_title(regime.name, loc="left", fontsize=10, fontweight="bold", pad=16)
    axis.text(0, 1.03, regime.about, transform=axis.transAxes, fontsize=8, color="#444444")
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(visible=True, color="#e6e6e6", linewidth=0.6)
    axis.tick_params(labelsize=8)


def _label_ends(axis: Axes, standings: Mapping[str, Standing]) -> None:
    """Writes the weights of fidelity to both ends of the front, if they are apart."""
    ends = {policy: standings[policy.name] for policy in (SWEEP[0], SWEEP[-1])}
    points = {policy: (end.seconds.value / 60, end.fidelity.value) for policy, end in ends.items()}
    first, last = (axis.transLimits.transform((math.log10(x), y)) for x, y in points.values())
    if math.dist(first, last) < LEAST_APART:
        return
    for policy, place in zip(points, ("right", "left"), strict=True):
        axis.annotate(
            f"{_fidelity_weight(policy):g}", points[policy], textcoords="offset points",
            xytext=(-4 if place == "right" else 5, -9), ha=place, fontsize=7.5, color=FRONT,
        )  # fmt: skip


def _scale(axis: Axes, standings: Sequence[Standing]) -> None:
    """Shows everything, and not so close that what hardly differs looks different."""
    minutes = [math.log(item.seconds.value / 60) for item in standings]
    fidelities = [item.fidelity.value for item in standings]
    axis.set_xscale("log")
    axis.set_xlim(*(math.exp(limit) for limit in _widen(minutes, LEAST_RATIO)))
    axis.set_ylim(*_widen(fidelities, LEAST_DIFFERENCE))
    decades = range(-1, 4)
    axis.xaxis.set_major_locator(
        FixedLocator([step * 10.0**power for power in decades for step in (1, 1.5, 2, 3, 5, 7)])
    )
    axis.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.yaxis.set_major_locator(MaxNLocator(5))


def _widen(values: Sequence[float], least: float) -> tuple[float, float]:
    middle = (min(values) + max(values)) / 2
    half = max(least, (max(values) - min(values)) * 1.2) / 2
    return middle - half, middle + half


def _fidelity_weight(policy: Policy) -> float:
    assert policy.weights is not None
    return policy.weights.fidelity
