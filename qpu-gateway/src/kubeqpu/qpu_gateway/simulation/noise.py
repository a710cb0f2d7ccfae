"""Noise models of the qubits and gates that a circuit uses, and no others.

The errors are those of `NoiseModel.from_backend`: depolarizing and relaxation errors from a gate's
error, duration, T1 and T2. Aer's own model of a 156-qubit device costs seconds to build and again
with each job; the errors of one small circuit cost milliseconds.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from qiskit import QuantumCircuit
from qiskit.circuit import Delay
from qiskit.transpiler import PassManager
from qiskit_aer.noise import NoiseModel, QuantumError, ReadoutError, RelaxationNoisePass
from qiskit_aer.noise.device import basic_device_gate_errors

from kubeqpu.qpu_gateway.simulation.device import Device
from kubeqpu.qpu_gateway.simulation.targets import build_target

GateKey = tuple[str, tuple[int, ...]]


def clip_coherence(device: Device) -> Device:
    """Shortens T2 to T1 where it is longer.

    The relaxation of such a qubit is then a mixture of identity, Z and reset, which is drawn
    without looking at the state; with a longer T2 each gate needs a state-dependent Kraus choice,
    after which a matrix product state has to be renormalised (measured at 21 qubits: 4 instead of
    22 ms per shot). The error of each gate stays the calibrated one, because the depolarizing part
    makes up the difference, unless relaxation alone exceeds it.
    """
    qubits = tuple(
        qubit.model_copy(update={"t2": min(qubit.t1, qubit.t2)}) if qubit.t1 and qubit.t2 else qubit
        for qubit in device.qubits
    )
    return device.model_copy(update={"qubits": qubits})


class DeviceNoise:
    """Errors of one calibration, made when first needed and kept."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._errors: dict[GateKey, QuantumError | None] = {}

    def model(self, gates: Iterable[GateKey], qubits: Sequence[int], readout: bool) -> NoiseModel:
        """Builds the noise model of a circuit on some of the device's qubits.

        Args:
            gates: Names and physical qubits of the circuit's operations.
            qubits: Physical qubit of each qubit of the circuit.
            readout: Whether measurements get their readout errors.
        """
        used = sorted(set(gates))
        self._make([gate for gate in used if gate not in self._errors])
        place = {physical: index for index, physical in enumerate(qubits)}
        model = NoiseModel(basis_gates=[item.name for item in self._device.instructions])
        for name, physical in used:
            error = self._errors[name, physical]
            if error is not None:
                model.add_quantum_error(error, name, [place[qubit] for qubit in physical])
        if readout:
            for index, physical_qubit in enumerate(qubits):
                matrix = self.confusion(physical_qubit)
                if matrix is not None:
                    model.add_readout_error(ReadoutError(matrix), [index])
        return model

    def confusion(self, qubit: int) -> NDArray[np.float64] | None:
        """Probability of reading b where a is true, at [a, b]; None without readout error."""
        up = self._device.qubits[qubit].prob_meas1_prep0
        down = self._device.qubits[qubit].prob_meas0_prep1
        return np.array([[1 - up, up], [down, 1 - down]]) if up or down else None

    def relax_delays(self, circuit: QuantumCircuit, qubits: Sequence[int]) -> QuantumCircuit:
        """Writes relaxation into a circuit wherever a qubit idles in a delay."""
        if not any(instruction.name == "delay" for instruction in circuit.data):
            return circuit
        times = [(self._device.qubits[q].t1 or np.inf, self._device.qubits[q].t2) for q in qubits]
        relaxation = RelaxationNoisePass(
            t1s=[t1 for t1, _ in times],
            t2s=[min(t2 or np.inf, 2 * t1) for t1, t2 in times],
            dt=self._device.dt,
            op_types=Delay,
        )
        return PassManager([relaxation]).run(circuit)

    def _make(self, missing: Sequence[GateKey]) -> None:
        wanted = set(missing)
        kept = []
        for item in self._device.instructions:
            gates = tuple(gate for gate in item.gates if (item.name, gate.qubits) in wanted)
            # Delays relax by their own durations.
            if gates and item.name != "delay":
                kept.append(item.model_copy(update={"gates": gates}))
        partial = self._device.model_copy(update={"instructions": tuple(kept)})
        self._errors.update(dict.fromkeys(missing))
        for name, qubits, error in basic_device_gate_errors(target=build_target(partial)):
            self._errors[name, tuple(qubits)] = error
