"""What compiles a job's templates: the part in which QPUs differ."""

from dataclasses import dataclass
from typing import Protocol

from qiskit import QuantumCircuit

from kubeqpu.proto.v1 import gateway_pb2
from kubeqpu.qpu_gateway.simulation.expectation import ExpectationProgram
from kubeqpu.qpu_gateway.simulation.jobs import LoadedJob
from kubeqpu.qpu_gateway.simulation.programs import Program


@dataclass(frozen=True)
class CompiledSampler:
    """A template ready to be sampled.

    Attributes:
        program: What samples it.
        execution: Where and how, for the record.
        circuit: The template, whose registers results are given in.
    """

    program: Program
    execution: gateway_pb2.Execution
    circuit: QuantumCircuit


@dataclass(frozen=True)
class CompiledExpectation:
    """A template ready for exact expectation values."""

    program: ExpectationProgram
    execution: gateway_pb2.Execution


class Engine(Protocol):
    """Compiles the templates of one QPU's jobs."""

    def compile_sampler(
        self, job: LoadedJob, template: int, shots: int, suffix: QuantumCircuit | None = None
    ) -> CompiledSampler:
        """Compiles a template for sampling.

        Args:
            job: Whose template; what templates share, such as a layout, is kept there.
            template: Index of the template.
            shots: Most shots of a row; part of the cost estimate.
            suffix: Replaces the template's classical bits by those of this circuit on the
                template's qubits, which is appended: rotations and measurements of an observable.

        Raises:
            CircuitError: If the template cannot run here.
        """

    def compile_expectation(
        self, job: LoadedJob, template: int, observables: list[gateway_pb2.Observable]
    ) -> CompiledExpectation:
        """Compiles a template for exact expectation values.

        Raises:
            CircuitError: If the template cannot run here, or results here are never exact.
        """
