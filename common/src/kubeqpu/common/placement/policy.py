"""What work asks of a QPU: the plain data behind a QPUClass."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class SimulatorPolicy(StrEnum):
    """Whether simulators may, must or must not be used."""

    ALLOW = "Allow"
    REQUIRE = "Require"
    FORBID = "Forbid"


class LabelOperator(StrEnum):
    """How a label's value is compared, as in a Kubernetes label selector."""

    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"


@dataclass(frozen=True)
class LabelExpression:
    """One comparison of a label.

    Attributes:
        key: The label's key.
        operator: How its value is compared.
        values: What it is compared with, for `In` and `NotIn`.
    """

    key: str
    operator: LabelOperator
    values: frozenset[str] = frozenset()

    def holds(self, labels: Mapping[str, str]) -> bool:
        """Tells whether labels satisfy it; `NotIn` holds where the label is absent."""
        value = labels.get(self.key)
        match self.operator:
            case LabelOperator.IN:
                return value in self.values
            case LabelOperator.NOT_IN:
                return value not in self.values
            case LabelOperator.EXISTS:
                return value is not None
            case LabelOperator.DOES_NOT_EXIST:
                return value is None

    def __str__(self) -> str:
        values = f" ({', '.join(sorted(self.values))})" if self.values else ""
        return f"{self.key} {self.operator}{values}"


@dataclass(frozen=True)
class Requirements:
    """Limits a QPU has to keep. None means no limit.

    Attributes:
        min_qubits: Smallest acceptable width.
        max_median_two_qubit_error: Largest acceptable median error of two-qubit gates.
        max_median_readout_error: Largest acceptable median readout error.
        max_eplg: Largest acceptable error per layered gate; a QPU that reports none is refused.
        max_calibration_age_seconds: Oldest acceptable calibration.
        max_estimated_wait_seconds: Longest acceptable wait.
        providers: Acceptable providers; empty means all.
        simulators: Whether simulators may be used.
        selector: Labels the QPU must carry.
        selector_expressions: Comparisons of the QPU's labels that must hold.
    """

    min_qubits: int = 1
    max_median_two_qubit_error: float | None = None
    max_median_readout_error: float | None = None
    max_eplg: float | None = None
    max_calibration_age_seconds: float | None = None
    max_estimated_wait_seconds: float | None = None
    providers: frozenset[str] = frozenset()
    simulators: SimulatorPolicy = SimulatorPolicy.ALLOW
    selector: Mapping[str, str] = field(default_factory=dict)
    selector_expressions: tuple[LabelExpression, ...] = ()


@dataclass(frozen=True)
class Weights:
    """How much each part counts in the score; only their ratios matter.

    Attributes:
        wait: Short waits.
        fidelity: Few errors.
        freshness: Recent calibration.
        utilisation: Free slots.
    """

    wait: float = 1.0
    fidelity: float = 1.0
    freshness: float = 0.1
    utilisation: float = 0.1

    def __post_init__(self) -> None:
        parts = (self.wait, self.fidelity, self.freshness, self.utilisation)
        if min(parts) < 0 or sum(parts) <= 0:
            raise ValueError(
                f"Weights must not be negative and not all zero, but are {parts}. "
                "Set at least one weight above 0."
            )


@dataclass(frozen=True)
class CircuitShape:
    """How many error-prone operations a circuit has; it ranks QPUs and promises nothing.

    Attributes:
        two_qubit_gates: Two-qubit gates in the circuit.
        measurements: Measured qubits.
    """

    two_qubit_gates: int
    measurements: int


DEFAULT_SHAPE = CircuitShape(two_qubit_gates=50, measurements=10)


@dataclass(frozen=True)
class PlacementClass:
    """A QPUClass as placement sees it.

    Attributes:
        name: Name of the class.
        requirements: What a QPU must satisfy.
        weights: How the QPUs that do are ranked.
        shape: Stands in for circuits that do not tell their shape.
    """

    name: str = "standard"
    requirements: Requirements = Requirements()
    weights: Weights = Weights()
    shape: CircuitShape = DEFAULT_SHAPE
