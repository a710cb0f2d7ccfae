"""Simulation without noise."""

from collections.abc import Mapping, Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from qiskit_aer import AerSimulator

from kubeqpu.proto.v1 import gateway_pb2
from kubeqpu.qpu_gateway.errors import CircuitError
from kubeqpu.qpu_gateway.simulation.compaction import compact, used_qubits
from kubeqpu.qpu_gateway.simulation.deferral import (
    DeferredCircuit,
    count_wires,
    defer_measurements,
)
from kubeqpu.qpu_gateway.simulation.expectation import (
    ExpectationProgram,
    save_expectation_values,
)
from kubeqpu.qpu_gateway.simulation.lowering import lower_for_aer
from kubeqpu.qpu_gateway.simulation.measurements import has_control_flow, plan_measurements
from kubeqpu.qpu_gateway.simulation.programs import (
    MAX_DISTRIBUTION_BITS,
    DistributionProgram,
    Program,
    SampledProgram,
    save_probabilities,
)
from kubeqpu.qpu_gateway.simulation.simulators import simulator
from kubeqpu.qpu_gateway.simulation.suffixes import drop_final_measurements

# Aer's shot-by-shot evolution pays about this many amplitudes a gate on top of the state's size.
_SHOT_OVERHEAD = 256


class IdealSettings(BaseModel):
    """How circuits without noise are simulated.

    Attributes:
        qpu: Name of the QPU, for the record.
        num_qubits: Widest circuit it takes.
        device: What Aer computes on.
        threads: Threads of one simulation.
        max_statevector_qubits: Wider circuits are simulated as matrix product states.
        max_operations: Most operations of a circuit.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    qpu: str
    num_qubits: int
    device: Literal["CPU", "GPU"] = "CPU"
    threads: int = 1
    max_statevector_qubits: int = 28
    max_operations: int = 1_000_000


class IdealSimulation:
    """Compiles templates for simulation without noise."""

    def __init__(self, settings: IdealSettings) -> None:
        self.settings = settings
        self._statevector = self._simulator("statevector")
        self._matrix_product_state = self._simulator("matrix_product_state")

    def compile_sampler(
        self, circuit: QuantumCircuit, columns: Mapping[Parameter, int], shots: int
    ) -> Program:
        """Compiles a template for sampling.

        Args:
            circuit: Of known kinds of operations.
            columns: Column of each parameter.
            shots: Most shots of a row; part of the cost estimate.

        Raises:
            CircuitError: If it is too wide.
        """
        self._check_width(circuit)
        lowered = lower_for_aer(circuit, self.settings.max_operations)
        lowered = compact(lowered, used_qubits(lowered))
        if not has_control_flow(lowered):
            plan = plan_measurements(lowered)
            wires = count_wires(lowered, plan)
            gain = shots * (2**lowered.num_qubits + _SHOT_OVERHEAD)
            collapses = bool(plan.middle or plan.resets)
            if wires <= self.settings.max_statevector_qubits and (
                not collapses or 2**wires <= gain
            ):
                return self._deferred(defer_measurements(lowered, plan), lowered, columns)
        return self._shot_by_shot(lowered, columns)

    def compile_expectation(
        self,
        circuit: QuantumCircuit,
        columns: Mapping[Parameter, int],
        observables: Sequence[gateway_pb2.Observable],
    ) -> ExpectationProgram:
        """Compiles a template for exact expectation values.

        Measurements at the end of the circuit are left out, those in the middle and resets are
        deferred.

        Raises:
            CircuitError: If it is too wide or has control flow.
        """
        self._check_width(circuit)
        lowered = lower_for_aer(drop_final_measurements(circuit), self.settings.max_operations)
        used = used_qubits(lowered) or (0,)
        lowered = compact(lowered, used)
        deferred = defer_measurements(lowered, plan_measurements(lowered))
        wires = [-1] * circuit.num_qubits
        for qubit, wire in zip(used, deferred.wires, strict=True):
            wires[qubit] = wire
        save_expectation_values(deferred.circuit, observables, wires)
        narrow = deferred.circuit.num_qubits <= self.settings.max_statevector_qubits
        terms = sum(len(observable.terms) for observable in observables)
        return ExpectationProgram(
            backend=self._statevector if narrow else self._matrix_product_state,
            method="aer-statevector" if narrow else "aer-matrix-product-state",
            cost=(2**deferred.circuit.num_qubits if narrow else 2**16) * max(1, terms // 8),
            circuit=deferred.circuit,
            columns=_used_columns(deferred.circuit, columns),
            observables=len(observables),
        )

    def _deferred(
        self,
        deferred: DeferredCircuit,
        original: QuantumCircuit,
        columns: Mapping[Parameter, int],
    ) -> Program:
        clbits = tuple(sorted(deferred.outputs))
        qubits = [deferred.outputs[clbit] for clbit in clbits]
        circuit = deferred.circuit
        cost = 2**circuit.num_qubits
        if len(clbits) > MAX_DISTRIBUTION_BITS:
            for register in original.cregs:
                circuit.add_register(register)
            circuit.measure(qubits, list(clbits))
            used = _used_columns(circuit, columns)
            return SampledProgram(self._statevector, "aer-statevector", cost, circuit, used)
        if clbits:
            save_probabilities(circuit, qubits)
        return DistributionProgram(
            backend=self._statevector,
            method="aer-statevector",
            cost=cost,
            branches=(circuit,) if clbits else (),
            columns=_used_columns(circuit, columns),
            saved_clbits=clbits,
            num_clbits=original.num_clbits,
            confusion=(None,) * len(clbits),
        )

    def _shot_by_shot(
        self, circuit: QuantumCircuit, columns: Mapping[Parameter, int]
    ) -> SampledProgram:
        used = _used_columns(circuit, columns)
        if circuit.num_qubits <= self.settings.max_statevector_qubits:
            cost = 2**circuit.num_qubits
            return SampledProgram(self._statevector, "aer-statevector", cost, circuit, used)
        backend, method = self._matrix_product_state, "aer-matrix-product-state"
        return SampledProgram(backend, method, 2**20, circuit, used)

    def _check_width(self, circuit: QuantumCircuit) -> None:
        if circuit.num_qubits > self.settings.num_qubits:
            raise CircuitError(
                f"Circuit {circuit.name!r} has {circuit.num_qubits} qubits, {self.settings.qpu} "
                f"takes {self.settings.num_qubits}; use a wider QPU or cut the circuit."
            )

    def _simulator(self, method: str) -> AerSimulator:
        # Aer computes matrix product states on the CPU only.
        device = self.settings.device if method == "statevector" else "CPU"
        return simulator(method, self.settings.threads, device)


def _used_columns(
    circuit: QuantumCircuit, columns: Mapping[Parameter, int]
) -> dict[Parameter, int]:
    return {parameter: columns[parameter] for parameter in circuit.parameters}
