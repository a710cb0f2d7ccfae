"""The engine of fake devices: templates are transpiled on request and run with noise."""

from pydantic import BaseModel, ConfigDict
from qiskit import QuantumCircuit

from kubeqpu.proto.v1 import gateway_pb2
from kubeqpu.qpu_gateway.errors import CircuitError
from kubeqpu.qpu_gateway.simulation.device import Device
from kubeqpu.qpu_gateway.simulation.engine import CompiledExpectation, CompiledSampler
from kubeqpu.qpu_gateway.simulation.jobs import LoadedJob
from kubeqpu.qpu_gateway.simulation.noisy import NoisySimulation
from kubeqpu.qpu_gateway.simulation.suffixes import append_suffix
from kubeqpu.qpu_gateway.simulation.targets import build_target
from kubeqpu.qpu_gateway.simulation.transpilation import (
    DeviceTranspiler,
    TranspiledCircuit,
    count_two_qubit_gates,
    derive_seed,
    layout_leader,
)

_CHOOSING_LEVEL = 3


class NoisySettings(BaseModel):
    """How circuits with a device's noise are simulated.

    Attributes:
        qpu: Name of the QPU, for the record.
        calibration_id: Of the device, for the record.
        device: The device with its calibration.
        threads: Threads of one simulation.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    qpu: str
    calibration_id: str
    device: Device
    threads: int = 1


class NoisyEngine:
    """Compiles templates for one calibration of a device."""

    def __init__(self, settings: NoisySettings) -> None:
        self._settings = settings
        self._simulation = NoisySimulation(settings.device, settings.threads)
        self._transpiler = DeviceTranspiler(build_target(settings.device), settings.qpu)

    def compile_sampler(
        self, job: LoadedJob, template: int, shots: int, suffix: QuantumCircuit | None = None
    ) -> CompiledSampler:
        """Compiles a template for sampling; see `Engine`."""
        circuit = job.circuits[template]
        if suffix is not None:
            circuit = append_suffix(circuit, suffix)
        transpiled = self._transpiled(job, template, circuit)
        program = self._simulation.compile_sampler(
            transpiled.circuit, job.columns(template), shots, transpiled.layout
        )
        execution = gateway_pb2.Execution(
            qpu=self._settings.qpu,
            calibration_id=self._settings.calibration_id,
            layout=transpiled.layout,
            method=program.method,
            depth=transpiled.circuit.depth(),
            two_qubit_gates=count_two_qubit_gates(transpiled.circuit),
        )
        return CompiledSampler(program, execution, transpiled.circuit)

    def compile_expectation(
        self, job: LoadedJob, template: int, observables: list[gateway_pb2.Observable]
    ) -> CompiledExpectation:
        """Refuses: what a noisy device gives is never exact.

        Raises:
            CircuitError: Always.
        """
        raise CircuitError(
            f"{self._settings.qpu} is noisy, so its expectation values are not exact; ask for a "
            "precision, or use an ideal simulator."
        )

    def _transpiled(
        self, job: LoadedJob, template: int, circuit: QuantumCircuit
    ) -> TranspiledCircuit:
        options, seed = job.spec.options, derive_seed(job.spec.seed, template)
        chosen = options.WhichOneof("transpilation")
        if chosen == "initial_layout":
            layout = list(options.initial_layout.qubits)
            return self._transpiler.transpile_with_layout(circuit, layout, seed)
        if chosen is None:
            return self._transpiler.accept(circuit)
        if options.transpile_level != _CHOOSING_LEVEL:
            return self._transpiler.transpile(circuit, options.transpile_level, seed)
        leader = layout_leader(job.circuits, template)
        chosen_layout = self._leading_layout(job, leader)
        return self._transpiler.transpile_with_layout(
            circuit, chosen_layout, seed, options.transpile_level
        )

    def _leading_layout(self, job: LoadedJob, leader: int) -> tuple[int, ...]:
        """Chooses the layout of a group of like templates, from calibration."""
        key = ("layout", self._settings.calibration_id, leader)
        seed = derive_seed(job.spec.seed, leader)
        circuit = job.circuits[leader]
        if job.spec.HasField("estimator"):
            # Observables are measured at the end, so readout errors count for the choice.
            circuit = circuit.measure_all(inplace=False)
        return job.compiled(
            key, lambda: self._transpiler.transpile(circuit, _CHOOSING_LEVEL, seed).layout
        )
