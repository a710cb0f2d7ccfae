"""A gateway's QPU as Qiskit backend."""

import time
from collections.abc import Sequence

from qiskit import QuantumCircuit
from qiskit.circuit import ClassicalRegister
from qiskit.providers import BackendV2
from qiskit.providers import Options as BackendOptions
from qiskit.transpiler import Target

from kubeqpu.client import errors
from kubeqpu.client.circuits import circuits_to_qpy
from kubeqpu.client.connection import Patience
from kubeqpu.client.gateway import GatewayClient
from kubeqpu.client.qiskit.experiments import make_result
from kubeqpu.client.qiskit.jobs import GatewayBackendJob
from kubeqpu.client.qiskit.targets import build_ideal_target, build_target
from kubeqpu.client.qpus import QPUDescription
from kubeqpu.client.requests import ResultFormat, SamplerEntry, SamplerJob


class GatewayBackend(BackendV2):  # type: ignore[misc]
    """A QPU of a gateway for `transpile`, `BackendSamplerV2`, `BackendEstimatorV2` and `run`.

    Prefer `GatewaySampler` and `GatewayEstimator`: they send parameter values as arrays and let
    the gateway transpile.

    Warning:
        qiskit-ibm-runtime's client-side primitives (`executor_sampler.Sampler(mode=backend)` and
        `executor_estimator.Estimator(mode=backend)`) never call `run` of a backend that is not
        IBM's. They simulate its target locally with Aer, so nothing reaches the gateway or its
        QPU, and no error says so. Use `GatewaySampler` and `GatewayEstimator` instead.

    Args:
        gateway: A client to share, an address, or None for `KUBEQPU_GATEWAY`.
        qpu: Name of the QPU; None takes the client's default, see `KUBEQPU_QPU`.

    Raises:
        InvalidRequestError: If no QPU is named.
        NotFoundError: If there is no such QPU.
        UnavailableError: If its provider did not start within the client's patience.
    """

    def __init__(
        self, gateway: GatewayClient | str | None = None, *, qpu: str | None = None
    ) -> None:
        self.client = gateway if isinstance(gateway, GatewayClient) else GatewayClient(gateway)
        name = qpu or self.client.default_qpu
        if name is None:
            raise errors.InvalidRequestError("No QPU is named: pass `qpu`, or set KUBEQPU_QPU.")
        self._read(name)
        super().__init__(name=name, description=f"QPU {name} of the gateway {self.client.address}")

    def _read(self, name: str) -> None:
        patience = Patience(self.client.patience_seconds)
        found = self.client.qpu(name, include_target=True)
        while not found.is_started and (delay := patience.next_delay()) is not None:
            time.sleep(delay)
            found = self.client.qpu(name, include_target=True)
        if found.target is not None:
            self._target = build_target(found.target)
        elif found.is_ideal:
            self._target = build_ideal_target(found.num_qubits)
        else:
            ready = found.qpu.conditions.get("Ready")
            raise errors.UnavailableError(
                f"QPU {name} has no target now ({ready.message if ready else 'not ready'}). Try "
                "again, or use GatewaySampler, which lets the gateway transpile when it can."
            )
        self._description = found

    def refresh(self) -> None:
        """Reads description and target again, after a new calibration for instance."""
        self._read(self._description.name)

    @property
    def qpu(self) -> QPUDescription:
        """What the gateway said about the QPU when last read."""
        return self._description

    @property
    def target(self) -> Target:
        """The transpilation target."""
        return self._target

    @property
    def max_circuits(self) -> None:
        """No limit: the gateway divides jobs as its provider needs it."""
        return

    @classmethod
    def _default_options(cls) -> BackendOptions:
        return BackendOptions(shots=1024, memory=False, seed_simulator=None)

    def run(
        self, run_input: QuantumCircuit | Sequence[QuantumCircuit], **options: object
    ) -> GatewayBackendJob:
        """Submits circuits as one job.

        Args:
            run_input: A circuit or several, without parameters and transpiled for the target.
            **options: `shots`, `memory` (keep every shot's outcome) and `seed_simulator`; those
                left out are as in `options`.

        Raises:
            InvalidRequestError: If an option is unknown, or a circuit cannot run.
            UnavailableError: If the gateway cannot be reached.
        """
        if unknown := sorted(set(options) - set(self.options)):
            raise errors.InvalidRequestError(
                f"Option {unknown[0]!r} is unknown; expected shots, memory or seed_simulator. "
                "Others belong to GatewaySampler."
            )
        used = {**self.options, **options}
        given = [run_input] if isinstance(run_input, QuantumCircuit) else list(run_input)
        circuits = [_register_all(circuit) for circuit in given]
        memory, shots = bool(used["memory"]), used["shots"]
        job = SamplerJob(
            circuits=circuits_to_qpy(circuits),
            qpu=self._description.name,
            seed=used["seed_simulator"],
            entries=[SamplerEntry(shots, template=index) for index in range(len(circuits))],
            format=ResultFormat.BITS if memory else ResultFormat.COUNTS,
        )
        submitted = self.client.submit(job)
        return GatewayBackendJob(
            self, submitted, lambda result: make_result(self.name, circuits, result)
        )


def _register_all(circuit: QuantumCircuit) -> QuantumCircuit:
    """Gives classical bits without a register one, because results come per register."""
    if not isinstance(circuit, QuantumCircuit):
        return circuit  # refused in words when it is written
    loose = [bit for bit in circuit.clbits if not circuit.find_bit(bit).registers]
    if not loose:
        return circuit
    complete = circuit.copy()
    complete.add_register(ClassicalRegister(bits=loose))
    return complete
