"""A QPU as plain data: what decisions about placement are made from."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class ConditionStatus(StrEnum):
    """Status of a condition, as Kubernetes writes it."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


@dataclass(frozen=True)
class Condition:
    """One condition of a QPU.

    Attributes:
        type: `Ready`, `Accepting` or `Calibrated`.
        status: Whether the condition holds.
        reason: CamelCase word for programs.
        message: One sentence for people.
    """

    type: str
    status: ConditionStatus
    reason: str = ""
    message: str = ""


@dataclass(frozen=True)
class Queue:
    """Work that waits in front of a QPU.

    Attributes:
        provider_pending: Jobs of all customers waiting at the provider.
        gateway_pending: Circuits waiting in the gateway.
        estimated_wait_seconds: Expected time until a job submitted now starts.
    """

    provider_pending: int = 0
    gateway_pending: int = 0
    estimated_wait_seconds: float = 0.0


@dataclass(frozen=True)
class Calibration:
    """Figures of one calibration of a QPU; medians leave dead qubits and edges out.

    Attributes:
        id: Changes with every calibration.
        time: When the QPU was calibrated, with time zone.
        median_one_qubit_error: Error of a one-qubit gate, in [0, 1].
        median_two_qubit_error: Error of a two-qubit gate, in [0, 1].
        median_readout_error: Error of a measurement, in [0, 1].
        median_t1_seconds: Relaxation time.
        median_t2_seconds: Dephasing time.
        eplg: Error per layered gate of a 100-qubit chain, or None where unknown.
        dead_edges: Two-qubit gates with an error of 1 or more.
    """

    id: str
    time: datetime
    median_one_qubit_error: float
    median_two_qubit_error: float
    median_readout_error: float
    median_t1_seconds: float = 0.0
    median_t2_seconds: float = 0.0
    eplg: float | None = None
    dead_edges: int = 0


@dataclass(frozen=True)
class QPU:
    """A quantum processor or simulator.

    Attributes:
        name: Unique name, at most 50 characters.
        provider: Entry-point name of the provider that runs it.
        simulator: Whether results are computed classically.
        num_qubits: Width of the largest circuit it takes.
        conditions: Its conditions by type.
        queue: What waits in front of it.
        calibration: Its last calibration, or None for a QPU without errors.
        slots: How many pods may use it at once.
        slots_held: How many of them are held.
        labels: Kubernetes labels, for selectors.
        unschedulable: Whether an operator cordoned it.
    """

    name: str
    provider: str
    simulator: bool
    num_qubits: int
    conditions: dict[str, Condition] = field(default_factory=dict)
    queue: Queue = Queue()
    calibration: Calibration | None = None
    slots: int = 1
    slots_held: int = 0
    labels: dict[str, str] = field(default_factory=dict)
    unschedulable: bool = False

    def is_true(self, condition: str) -> bool:
        """Tells whether a condition is known to hold."""
        found = self.conditions.get(condition)
        return found is not None and found.status is ConditionStatus.TRUE
