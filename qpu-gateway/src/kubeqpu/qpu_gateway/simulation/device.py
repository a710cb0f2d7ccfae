"""A calibrated device as plain data: sent from the fake provider to workers, drifted, restricted.

Nothing here imports Qiskit, so the gateway itself can use it.
"""

import hashlib
import statistics
from collections.abc import Iterator, Sequence
from datetime import datetime

from pydantic import BaseModel, ConfigDict

# A gate of this error does nothing useful: its edge is dead.
DEAD_ERROR = 1.0
_NO_GATES = frozenset({"measure", "reset", "delay", "id"})


class _Plain(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class GateCalibration(_Plain):
    """One operation on certain qubits; error in [0, 1], duration in seconds."""

    qubits: tuple[int, ...]
    error: float | None = None
    duration: float | None = None


class InstructionCalibration(_Plain):
    """An operation of the device by Qiskit's name; without `gates` it acts on all qubits alike."""

    name: str
    parameters: tuple[str, ...] = ()
    gates: tuple[GateCalibration, ...] = ()


class QubitCalibration(_Plain):
    """One qubit: relaxation times in seconds, frequency in hertz, and readout errors.

    `prob_meas1_prep0` is the probability to read 1 after preparing 0, `prob_meas0_prep1` the other.
    """

    t1: float | None = None
    t2: float | None = None
    frequency: float | None = None
    prob_meas1_prep0: float = 0.0
    prob_meas0_prep1: float = 0.0

    @property
    def readout_error(self) -> float:
        """Mean over the two preparations."""
        return (self.prob_meas1_prep0 + self.prob_meas0_prep1) / 2


class Device(_Plain):
    """A device with its calibration.

    Attributes:
        backend_name: As the vendor calls it.
        num_qubits: Width.
        calibrated_at: When the calibration was taken.
        dt: Seconds per device cycle.
        instructions: What it can do.
        qubits: One per qubit.
        layer_fidelity_100: Layer fidelity of a 100-qubit chain, where the vendor gives one.
    """

    backend_name: str
    num_qubits: int
    calibrated_at: datetime
    dt: float | None = None
    instructions: tuple[InstructionCalibration, ...]
    qubits: tuple[QubitCalibration, ...]
    layer_fidelity_100: float | None = None

    @property
    def calibration_id(self) -> str:
        """A digest of everything that decides results, and of when it was measured."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:16]

    @property
    def eplg(self) -> float | None:
        """Error per layered gate, 1 - LF^(1/99) for 100 qubits (McKay et al., arXiv:2311.05933)."""
        if self.layer_fidelity_100 is None:
            return None
        return float(1.0 - self.layer_fidelity_100 ** (1 / 99))

    def gates(self, num_qubits: int) -> Iterator[GateCalibration]:
        """Lists the calibrated gates on a number of qubits."""
        for instruction in self.instructions:
            if instruction.name not in _NO_GATES:
                for gate in instruction.gates:
                    if len(gate.qubits) == num_qubits and gate.error is not None:
                        yield gate

    def edges(self) -> dict[tuple[int, int], float]:
        """Maps coupled pairs, lower qubit first, to the least error of a gate on them."""
        found: dict[tuple[int, int], float] = {}
        for gate in self.gates(2):
            low, high = sorted(gate.qubits)
            error = DEAD_ERROR if gate.error is None else gate.error
            found[low, high] = min(error, found.get((low, high), DEAD_ERROR))
        return found

    def dead_edges(self) -> int:
        """Counts coupled pairs without a useful gate."""
        return sum(error >= DEAD_ERROR for error in self.edges().values())

    def median_gate_error(self, num_qubits: int) -> float:
        """Median error of gates that work; virtual ones, which have no duration, are left out."""
        errors = [
            gate.error
            for gate in self.gates(num_qubits)
            if gate.error is not None and gate.error < DEAD_ERROR and gate.duration
        ]
        return statistics.median(errors) if errors else 0.0


def restrict(device: Device, qubits: Sequence[int]) -> Device:
    """Leaves only some qubits of a device, relabelled 0, 1, ... in the order given."""
    place = {old: new for new, old in enumerate(qubits)}
    instructions = []
    for instruction in device.instructions:
        gates = tuple(
            gate.model_copy(update={"qubits": tuple(place[q] for q in gate.qubits)})
            for gate in instruction.gates
            if all(q in place for q in gate.qubits)
        )
        # An instruction calibrated on no remaining qubits is gone; one that never was, stays.
        if gates or not instruction.gates:
            instructions.append(instruction.model_copy(update={"gates": gates}))
    return device.model_copy(
        update={
            "num_qubits": len(qubits),
            "instructions": tuple(instructions),
            "qubits": tuple(device.qubits[q] for q in qubits),
            # Measured on a chain that is not there any more.
            "layer_fidelity_100": device.layer_fidelity_100 if len(qubits) >= 100 else None,
        }
    )
