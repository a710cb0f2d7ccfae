"""The engine of ideal simulators: templates run as they are, or as transpiled on request."""

from qiskit import QuantumCircuit

from kubeqpu.proto.v1 import gateway_pb2
from kubeqpu.qpu_gateway.errors import CircuitError
from kubeqpu.qpu_gateway.simulation.engine import CompiledExpectation, CompiledSampler
from kubeqpu.qpu_gateway.simulation.ideal import IdealSettings, IdealSimulation
from kubeqpu.qpu_gateway.simulation.jobs import LoadedJob
from kubeqpu.qpu_gateway.simulation.suffixes import append_suffix


class IdealEngine:
    """Compiles templates for an ideal simulator.

    Such a simulator takes every standard gate on every pair of qubits, so there is nothing to
    transpile for; `transpile_level` is accepted and changes nothing, because an exact simulation of
    any equivalent circuit gives the same distribution.
    """

    def __init__(self, settings: IdealSettings) -> None:
        self._simulation = IdealSimulation(settings)
        self._qpu = settings.qpu

    def compile_sampler(
        self, job: LoadedJob, template: int, shots: int, suffix: QuantumCircuit | None = None
    ) -> CompiledSampler:
        """Compiles a template for sampling; see `Engine`."""
        self._check_options(job)
        circuit = job.circuits[template]
        if suffix is not None:
            circuit = append_suffix(circuit, suffix)
        program = self._simulation.compile_sampler(circuit, job.columns(template), shots)
        return CompiledSampler(program, self._execution(program.method), circuit)

    def compile_expectation(
        self, job: LoadedJob, template: int, observables: list[gateway_pb2.Observable]
    ) -> CompiledExpectation:
        """Compiles a template for exact expectation values; see `Engine`."""
        self._check_options(job)
        circuit = job.circuits[template]
        program = self._simulation.compile_expectation(circuit, job.columns(template), observables)
        return CompiledExpectation(program, self._execution(program.method))

    def _check_options(self, job: LoadedJob) -> None:
        if job.spec.options.WhichOneof("transpilation") == "initial_layout":
            raise CircuitError(
                f"{self._qpu} is an ideal simulator without physical qubits; leave out the initial "
                "layout, or name a QPU."
            )

    def _execution(self, method: str) -> gateway_pb2.Execution:
        # Depth and two-qubit gates are those of a transpiled template: there is none.
        return gateway_pb2.Execution(qpu=self._qpu, method=method)
