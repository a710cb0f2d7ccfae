"""Picks a QPU and keeps the explanation."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from kubeqpu.common.placement.constraints import Refusal, fits
from kubeqpu.common.placement.policy import CircuitShape, PlacementClass
from kubeqpu.common.placement.score import Score, score
from kubeqpu.common.qpu import QPU


class NoFittingQPUError(LookupError):
    """No QPU satisfies the class; `refusals` says why, one per QPU."""

    def __init__(self, class_name: str, refusals: tuple[Refusal, ...]) -> None:
        self.refusals = refusals
        reasons = "; ".join(str(refusal) for refusal in refusals) or "there are no QPUs"
        super().__init__(f"No QPU satisfies class {class_name}: {reasons}.")


@dataclass(frozen=True)
class Placement:
    """Where work goes and why.

    Attributes:
        qpu: Name of the chosen QPU.
        scores: Scores of all fitting QPUs, best first; the first is the chosen one's.
        refusals: Why the others did not fit.
    """

    qpu: str
    scores: tuple[Score, ...]
    refusals: tuple[Refusal, ...]

    @property
    def runner_up(self) -> Score | None:
        """Score of the second best, or None if only one QPU fitted."""
        return self.scores[1] if len(self.scores) > 1 else None

    def sentence(self) -> str:
        """Explains the choice to a person in one sentence."""
        best = self.scores[0]
        parts = (
            f"{best.qpu} scored {best.total:.3f} (wait {best.wait:.2f}, fidelity "
            f"{best.fidelity:.2f}, freshness {best.freshness:.2f}, free slots "
            f"{best.utilisation:.2f})"
        )
        second = self.runner_up
        if second is None:
            rest = ", the only QPU that fits" if not self.refusals else ""
            refused = f"; {len(self.refusals)} refused" if self.refusals else ""
            return f"{parts}{rest}{refused}"
        return f"{parts}, ahead of {second.qpu} at {second.total:.3f}"


def place(
    qpus: Iterable[QPU],
    wanted: PlacementClass,
    now: datetime,
    shape: CircuitShape | None = None,
) -> Placement:
    """Picks the best of the QPUs that satisfy a class; names break ties.

    Args:
        qpus: The candidates.
        wanted: The class asked for.
        now: Time against which ages are taken, with time zone.
        shape: Shape of the work; the class's own where unknown.

    Returns:
        The choice with scores and refusals.

    Raises:
        NoFittingQPUError: If no QPU fits.
    """
    scores: list[Score] = []
    refusals: list[Refusal] = []
    for qpu in sorted(qpus, key=lambda qpu: qpu.name):
        refusal = fits(qpu, wanted.requirements, now, wanted.name)
        if refusal is not None:
            refusals.append(refusal)
        else:
            scores.append(score(qpu, wanted.weights, shape or wanted.shape, now))
    if not scores:
        raise NoFittingQPUError(wanted.name, tuple(refusals))
    scores.sort(key=lambda item: (-item.total, item.qpu))
    return Placement(scores[0].qpu, tuple(scores), tuple(refusals))
