"""Options of a job as plain data; the gateway refuses those that a QPU's provider lacks."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from kubeqpu.client import errors
from kubeqpu.proto.v1 import gateway_pb2


class ExecutionMode(Enum):
    """How a job shares the QPU with other work of the same caller."""

    JOB = gateway_pb2.EXECUTION_MODE_JOB
    BATCH = gateway_pb2.EXECUTION_MODE_BATCH
    SESSION = gateway_pb2.EXECUTION_MODE_SESSION


@dataclass(frozen=True)
class Twirling:
    """Randomises gates or measurements by Pauli twirling.

    Attributes:
        gates: Twirl two-qubit gates.
        measurement: Twirl measurements.
        randomizations: Number of random instances, or None for the provider's choice.
    """

    gates: bool = False
    measurement: bool = False
    randomizations: int | None = None


@dataclass(frozen=True)
class Options:
    """What the caller wants beyond running the circuits as they are.

    Attributes:
        transpile_level: Transpile on the gateway at this level, 0 to 3, with a layout chosen from
            calibration; None runs the circuits as they are. Excludes `initial_layout`.
        initial_layout: Transpile so that circuit qubit i sits on physical qubit
            `initial_layout[i]`.
        twirling: Pauli twirling, or None.
        dynamical_decoupling: Name of the pulse sequence, such as "XY4", or None.
        resilience_level: The provider's error mitigation level, or None.
        readout_mitigation: Whether to correct readout errors; None leaves it to the provider.
        execution_mode: How the job shares the QPU, or None for the provider's default.
        execution_id: Joins work of the same id; only with BATCH or SESSION.
    """

    transpile_level: int | None = None
    initial_layout: Sequence[int] | None = None
    twirling: Twirling | None = None
    dynamical_decoupling: str | None = None
    resilience_level: int | None = None
    readout_mitigation: bool | None = None
    execution_mode: ExecutionMode | None = None
    execution_id: str = ""

    def to_proto(self) -> gateway_pb2.Options:
        """Writes the options for the wire; what is None stays unset.

        Raises:
            InvalidRequestError: If a level or layout cannot be what it is given as.
        """
        if self.transpile_level is not None and self.initial_layout is not None:
            raise errors.InvalidRequestError(
                "Both transpile_level and initial_layout are set; a given layout already means "
                "transpilation, so set one of them."
            )
        message = gateway_pb2.Options(execution_id=self.execution_id)
        if self.transpile_level is not None:
            message.transpile_level = check_range("transpile_level", self.transpile_level, 3)
        if self.initial_layout is not None:
            message.initial_layout.qubits.extend(
                check_range("initial_layout", qubit, 2**32 - 1) for qubit in self.initial_layout
            )
        if self.twirling is not None:
            message.twirling.CopyFrom(_write_twirling(self.twirling))
        if self.dynamical_decoupling is not None:
            message.dynamical_decoupling.sequence = self.dynamical_decoupling
        if self.resilience_level is not None:
            message.resilience_level = check_range("resilience_level", self.resilience_level, 9)
        if self.readout_mitigation is not None:
            message.readout_mitigation = self.readout_mitigation
        if self.execution_mode is not None:
            message.execution_mode = self.execution_mode.value
        return message


def _write_twirling(twirling: Twirling) -> gateway_pb2.Twirling:
    message = gateway_pb2.Twirling(gates=twirling.gates, measurement=twirling.measurement)
    if twirling.randomizations is not None:
        message.randomizations = check_range("randomizations", twirling.randomizations, 2**32 - 1)
    return message


def check_range(name: str, value: int, largest: int, smallest: int = 0) -> int:
    """Returns an integer option that fits its range.

    Raises:
        InvalidRequestError: If it is no integer or out of range.
    """
    try:
        number = value.__index__()
    except AttributeError:
        number = smallest - 1
    if isinstance(value, bool) or not smallest <= number <= largest:
        raise errors.InvalidRequestError(
            f"{name} is {value!r}; expected a whole number from {smallest} to {largest}."
        )
    return number
