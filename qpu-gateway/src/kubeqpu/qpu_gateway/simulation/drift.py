"""Calibration drift: every error of a device moved by a factor."""

import math
from datetime import datetime, timedelta

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from kubeqpu.qpu_gateway.simulation.device import (
    DEAD_ERROR,
    Device,
    GateCalibration,
    InstructionCalibration,
    QubitCalibration,
)

# Standard deviation of the logarithm of a random factor: day-to-day changes of gate errors are of
# the order of a quarter.
_SPREAD = 0.25
_MAX_ERROR = 0.5


class CalibrationDrift(BaseModel):
    """How a device's calibration differs from the snapshot that is shipped.

    Attributes:
        drift_seed: Multiplies each error by a random factor of its own, drawn with this seed.
        scale_two_qubit: Multiplies errors of two-qubit gates.
        scale_readout: Multiplies readout errors.
        age_hours: Age of the calibration when the provider started.
        time: When the calibration was taken, instead of an age.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    drift_seed: int | None = Field(default=None, ge=0)
    scale_two_qubit: float = Field(default=1.0, gt=0)
    scale_readout: float = Field(default=1.0, gt=0)
    age_hours: float | None = Field(default=None, ge=0)
    time: datetime | None = None


def drift_calibration(device: Device, drift: CalibrationDrift, started_at: datetime) -> Device:
    """Applies a drift; without any the device is returned as it is.

    Dead edges stay dead, and no error grows beyond one half, where it would carry no information.
    """
    taken = device.calibrated_at
    if drift.time is not None:
        taken = drift.time
    elif drift.age_hours is not None:
        taken = started_at - timedelta(hours=drift.age_hours)
    factors = _Factors(drift)
    return device.model_copy(
        update={
            "calibrated_at": taken,
            "instructions": tuple(factors.instruction(item) for item in device.instructions),
            "qubits": tuple(factors.qubit(item) for item in device.qubits),
        }
    )


class _Factors:
    """Factors in the order of the device's gates and qubits."""

    def __init__(self, drift: CalibrationDrift) -> None:
        self._drift = drift
        seed = drift.drift_seed
        self._generator = None if seed is None else np.random.Generator(np.random.Philox(key=seed))

    def instruction(self, instruction: InstructionCalibration) -> InstructionCalibration:
        gates = tuple(self._gate(gate) for gate in instruction.gates)
        if instruction.name == "measure":
            return instruction
        return instruction.model_copy(update={"gates": gates})

    def qubit(self, qubit: QubitCalibration) -> QubitCalibration:
        factor = self._drift.scale_readout * self._random()
        return qubit.model_copy(
            update={
                "prob_meas1_prep0": _scaled(qubit.prob_meas1_prep0, factor),
                "prob_meas0_prep1": _scaled(qubit.prob_meas0_prep1, factor),
            }
        )

    def _gate(self, gate: GateCalibration) -> GateCalibration:
        factor = self._random()
        if len(gate.qubits) == 2:
            factor *= self._drift.scale_two_qubit
        if gate.error is None or gate.error >= DEAD_ERROR:
            return gate
        return gate.model_copy(update={"error": _scaled(gate.error, factor)})

    def _random(self) -> float:
        if self._generator is None:
            return 1.0
        return math.exp(_SPREAD * float(self._generator.standard_normal()))


def _scaled(error: float, factor: float) -> float:
    return max(error, min(error * factor, _MAX_ERROR)) if factor > 1 else error * factor
