"""Transpiling templates for a device, with one layout per group of like templates."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

from qiskit import QuantumCircuit
from qiskit.transpiler import Target, TranspilerError, generate_preset_pass_manager

from kubeqpu.qpu_gateway.errors import CircuitError
from kubeqpu.qpu_gateway.simulation.noise import GateKey
from kubeqpu.qpu_gateway.simulation.noisy import physical_gates
from kubeqpu.qpu_gateway.simulation.targets import first_unsupported

# Layouts that are tried where the layout is chosen from calibration.
_TRIALS = 6
_CHOOSING_LEVEL = 3
# Level for a layout that the caller gives, Qiskit's own default.
_DEFAULT_LEVEL = 2
_WORST_ERROR = 0.999


@dataclass(frozen=True)
class TranspiledCircuit:
    """A circuit on the device's qubits.

    Attributes:
        circuit: Of the device's operations; qubit i is the device's qubit i.
        layout: Device qubit on which each qubit of the template starts.
    """

    circuit: QuantumCircuit
    layout: tuple[int, ...]


class DeviceTranspiler:
    """Transpiles for one calibration of a device."""

    def __init__(self, target: Target, qpu: str) -> None:
        self._target = target
        self._qpu = qpu

    def transpile(self, circuit: QuantumCircuit, level: int, seed: int) -> TranspiledCircuit:
        """Transpiles; at level 3 the layout with the highest expected fidelity of several.

        Raises:
            CircuitError: If the circuit cannot be transpiled.
        """
        self._check_width(circuit)
        trials = _TRIALS if level == _CHOOSING_LEVEL else 1
        found = [self._run(circuit, level, derive_seed(seed, trial)) for trial in range(trials)]
        return max(found, key=lambda result: self.log_fidelity(result.circuit))

    def transpile_with_layout(
        self, circuit: QuantumCircuit, layout: Sequence[int], seed: int, level: int = _DEFAULT_LEVEL
    ) -> TranspiledCircuit:
        """Transpiles with a layout that is given.

        Raises:
            CircuitError: If the layout is not one qubit of the device for each of the circuit.
        """
        self._check_width(circuit)
        if len(layout) != circuit.num_qubits or len(set(layout)) != len(layout):
            raise CircuitError(
                f"The layout names {len(set(layout))} qubits, circuit {circuit.name!r} has "
                f"{circuit.num_qubits}; name each circuit qubit's physical qubit once."
            )
        if max(layout, default=0) >= self._target.num_qubits:
            raise CircuitError(
                f"The layout names qubit {max(layout)}, {self._qpu} has qubits 0 to "
                f"{self._target.num_qubits - 1}."
            )
        return self._run(circuit, level, seed, list(layout))

    def accept(self, circuit: QuantumCircuit) -> TranspiledCircuit:
        """Takes a circuit as it is, if it fits the device.

        Raises:
            CircuitError: If an operation is not the device's, naming the first.
        """
        self._check_width(circuit)
        unsupported = first_unsupported(self._target, physical_gates(circuit))
        if unsupported is not None:
            name, qubits = unsupported
            raise CircuitError(
                f"{self._qpu} has no {name!r} on qubits {list(qubits)}; set transpile_level, or "
                f"transpile circuit {circuit.name!r} for it."
            )
        return TranspiledCircuit(circuit, tuple(range(circuit.num_qubits)))

    def log_fidelity(self, circuit: QuantumCircuit) -> float:
        """Logarithm of the expected fidelity: the product of 1 - e over gates and readouts."""
        return sum(self._log_success(gate) for gate in physical_gates(circuit))

    def _log_success(self, gate: GateKey) -> float:
        name, qubits = gate
        if name not in self._target.operation_names:
            return 0.0
        properties = self._target[name].get(qubits)
        error = None if properties is None else properties.error
        return 0.0 if error is None else math.log1p(-min(error, _WORST_ERROR))

    def _run(
        self, circuit: QuantumCircuit, level: int, seed: int, layout: list[int] | None = None
    ) -> TranspiledCircuit:
        passes = generate_preset_pass_manager(
            level, target=self._target, initial_layout=layout, seed_transpiler=seed
        )
        try:
            transpiled = passes.run(circuit)
        except TranspilerError as error:
            raise CircuitError(
                f"Circuit {circuit.name!r} cannot be transpiled for {self._qpu}: {error.message}"
            ) from error
        chosen = transpiled.layout.initial_index_layout(filter_ancillas=True)
        return TranspiledCircuit(transpiled, tuple(chosen))

    def _check_width(self, circuit: QuantumCircuit) -> None:
        if circuit.num_qubits > self._target.num_qubits:
            raise CircuitError(
                f"Circuit {circuit.name!r} has {circuit.num_qubits} qubits, {self._qpu} has "
                f"{self._target.num_qubits}; use a wider QPU or cut the circuit."
            )


def derive_seed(seed: int, *parts: int) -> int:
    """Derives a seed for the transpiler, below 2^31, from a job's seed."""
    text = ",".join(str(part) for part in (seed, *parts))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") & (2**31 - 1)


def interactions(circuit: QuantumCircuit) -> frozenset[tuple[int, int]]:
    """Lists the pairs of qubits that gates join, lower qubit first."""
    return frozenset(
        (min(qubits), max(qubits))
        for name, qubits in physical_gates(circuit)
        if len(qubits) == 2 and name != "barrier"
    )


def layout_leader(circuits: Sequence[QuantumCircuit], template: int) -> int:
    """Finds the template whose layout a template takes over: one layout per fragment.

    It is the first of equal width whose interactions include the template's, so the layout costs
    the template no more swaps than it costs the leader. Depends on the job alone, never on which
    template happens to run first.
    """
    wanted = interactions(circuits[template])
    width = circuits[template].num_qubits
    for candidate in range(template):
        circuit = circuits[candidate]
        if circuit.num_qubits == width and wanted <= interactions(circuit):
            return candidate
    return template


def count_two_qubit_gates(circuit: QuantumCircuit) -> int:
    """Counts gates on exactly two qubits."""
    return sum(len(qubits) == 2 and name != "barrier" for name, qubits in physical_gates(circuit))
