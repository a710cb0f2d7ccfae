"""Draws the demo's values beside the exact ones."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes

from examples.demo.runs import Comparison, Outcome

CUT, UNCUT, EXACT = "#0b6e99", "#c2571a", "#333333"


def draw(outcomes: Sequence[Outcome], path: Path) -> None:
    """Draws one panel per observable: cut and uncut with error bars, exact as a line.

    Args:
        outcomes: What to draw.
        path: PNG file to write.
    """
    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415 - the backend is chosen first

    panels = [(outcome, item) for outcome in outcomes for item in outcome.comparisons]
    figure, axes = plt.subplots(
        len(panels), 1, figsize=(8.0, 1.2 + 1.35 * len(panels)), squeeze=False
    )
    for (outcome, comparison), axis in zip(panels, axes[:, 0], strict=True):
        _draw_panel(axis, outcome, comparison)
    figure.suptitle("Cut circuits on small QPUs, the whole circuit, and the exact value")
    figure.supxlabel("expectation value; bars: ± 2 standard errors, statistical only", fontsize=9)
    figure.tight_layout()
    figure.savefig(path, dpi=130)
    plt.close(figure)


def _draw_panel(axis: Axes, outcome: Outcome, comparison: Comparison) -> None:
    fragments = f"cut: at most {outcome.max_width} qubits"
    whole = f"whole: {outcome.task.circuit.num_qubits} qubits"
    rows = [(1.0, fragments, comparison.cut, CUT), (0.0, whole, comparison.uncut, UNCUT)]
    for height, _, estimate, colour in rows:
        if estimate is not None:
            axis.errorbar(
                estimate.value, height, xerr=2 * estimate.standard_error,
                fmt="o", color=colour, capsize=4, markersize=5,
            )  # fmt: skip
    if comparison.exact is not None:
        axis.axvline(comparison.exact, color=EXACT, linewidth=1.2, linestyle="--")
    axis.set_yticks([row[0] for row in rows], [row[1] for row in rows], fontsize=9)
    axis.set_ylim(-0.6, 1.6)
    axis.margins(x=0.25)
    exact = "" if comparison.exact is None else f", exact {comparison.exact:.4f} (dashed)"
    axis.set_title(f"{outcome.task.name}: {comparison.name}{exact}", loc="left", fontsize=10)
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(axis="x", labelsize=8)
