"""QPUs as the gateway describes them, as plain data."""

from dataclasses import dataclass
from datetime import UTC

from kubeqpu.client import errors
from kubeqpu.common.qpu import QPU, Calibration, Condition, ConditionStatus, Queue
from kubeqpu.proto.v1 import qpu_pb2


@dataclass(frozen=True)
class Capabilities:
    """What a QPU's provider can do beyond sampling transpiled circuits.

    Attributes:
        exact: Expectation values without sampling error.
        transpile: Transpilation on the gateway.
        mid_circuit_measurement: Operations after a measurement.
        control_flow: Conditions and loops.
        twirling: Pauli twirling.
        dynamical_decoupling: Known pulse sequences.
        resilience_levels: Known levels of error mitigation.
        readout_mitigation: Correction of readout errors.
        execution_modes: Known execution modes: job, batch, session.
    """

    exact: bool = False
    transpile: bool = False
    mid_circuit_measurement: bool = False
    control_flow: bool = False
    twirling: bool = False
    dynamical_decoupling: tuple[str, ...] = ()
    resilience_levels: tuple[int, ...] = ()
    readout_mitigation: bool = False
    execution_modes: tuple[str, ...] = ()


@dataclass(frozen=True)
class GateSite:
    """An instruction on certain qubits; None where a figure is unknown."""

    qubits: tuple[int, ...]
    error: float | None
    duration_seconds: float | None


@dataclass(frozen=True)
class TargetInstruction:
    """An instruction of a target.

    Attributes:
        name: Qiskit's name, such as "cz".
        parameters: Its parameters by name, or as numbers where they are fixed.
        sites: Where it can run; empty means on all qubits alike.
    """

    name: str
    parameters: tuple[str, ...]
    sites: tuple[GateSite, ...]


@dataclass(frozen=True)
class TargetQubit:
    """Figures of one physical qubit; None where unknown."""

    t1_seconds: float | None
    t2_seconds: float | None
    prob_meas1_prep0: float | None
    prob_meas0_prep1: float | None


@dataclass(frozen=True)
class Target:
    """Qiskit's Target as plain data; `kubeqpu.client.qiskit` makes the real one of it.

    Attributes:
        num_qubits: Physical qubits.
        dt: Seconds per device cycle, or None.
        instructions: What can run, and where.
        qubits: Figures per physical qubit; empty where there are none.
    """

    num_qubits: int
    dt: float | None
    instructions: tuple[TargetInstruction, ...]
    qubits: tuple[TargetQubit, ...]


@dataclass(frozen=True)
class QPUDescription:
    """All a gateway says about a QPU.

    Attributes:
        qpu: The part that decisions about placement are made from.
        backend_name: The provider's name for it.
        noisy: Whether results carry a device's noise; `exact` needs a QPU without.
        max_shots: Most shots of one circuit.
        max_circuits: Circuits the provider takes in one submission; larger jobs are divided.
        basis_gates: Names of the native gates.
        capabilities: What the provider can do.
        target: The transpilation target, if it was asked for.
    """

    qpu: QPU
    backend_name: str
    noisy: bool
    max_shots: int
    max_circuits: int
    basis_gates: tuple[str, ...]
    capabilities: Capabilities
    target: Target | None = None

    @property
    def name(self) -> str:
        """Name of the QPU."""
        return self.qpu.name

    @property
    def num_qubits(self) -> int:
        """Width of the largest circuit it takes."""
        return self.qpu.num_qubits

    def __str__(self) -> str:
        ready = self.qpu.conditions.get("Ready")
        words = [
            "ready"
            if self.qpu.is_true("Ready")
            else f"not ready ({ready.message if ready else ''})",
            f"{self.num_qubits} qubits",
            f"provider {self.qpu.provider}",
            f"wait {self.qpu.queue.estimated_wait_seconds:.0f} s",
        ]
        if self.qpu.calibration is not None:
            words.append(f"two-qubit error {self.qpu.calibration.median_two_qubit_error:.2%}")
        return f"{self.name}: " + ", ".join(words)

    @property
    def is_started(self) -> bool:
        """Whether its provider has told its size; a gateway serves before its providers do."""
        return self.qpu.num_qubits > 0

    @property
    def is_ideal(self) -> bool:
        """Whether it is a simulator without noise, which takes every gate; known once started."""
        return self.is_started and self.qpu.simulator and not self.noisy


def read_qpu(message: qpu_pb2.QPU) -> QPUDescription:
    """Reads a QPU from the wire.

    Raises:
        ProtocolError: If a condition's status is none of Kubernetes'.
    """
    queue = message.queue
    return QPUDescription(
        qpu=QPU(
            name=message.name,
            provider=message.provider,
            simulator=message.simulator,
            num_qubits=message.num_qubits,
            conditions={found.type: _read_condition(found) for found in message.conditions},
            queue=Queue(
                queue.provider_pending, queue.gateway_pending, queue.estimated_wait_seconds
            ),
            calibration=_read_calibration(message) if message.HasField("calibration") else None,
            slots=message.slots,
        ),
        backend_name=message.backend_name,
        noisy=message.noisy,
        max_shots=message.max_shots,
        max_circuits=message.max_circuits,
        basis_gates=tuple(message.basis_gates),
        capabilities=_read_capabilities(message.capabilities),
        target=_read_target(message.target) if message.HasField("target") else None,
    )


def _read_condition(message: qpu_pb2.Condition) -> Condition:
    try:
        status = ConditionStatus(message.status)
    except ValueError as error:
        raise errors.ProtocolError(
            f"Condition {message.type} has status {message.status!r}; expected True, False or "
            "Unknown. Please report it."
        ) from error
    return Condition(message.type, status, message.reason, message.message)


def _read_calibration(message: qpu_pb2.QPU) -> Calibration:
    found = message.calibration
    return Calibration(
        id=found.id,
        time=found.time.ToDatetime(tzinfo=UTC),
        median_one_qubit_error=found.median_one_qubit_error,
        median_two_qubit_error=found.median_two_qubit_error,
        median_readout_error=found.median_readout_error,
        median_t1_seconds=found.median_t1_seconds,
        median_t2_seconds=found.median_t2_seconds,
        eplg=found.eplg if found.HasField("eplg") else None,
        dead_edges=found.dead_edges,
    )


def _read_capabilities(message: qpu_pb2.Capabilities) -> Capabilities:
    return Capabilities(
        exact=message.exact,
        transpile=message.transpile,
        mid_circuit_measurement=message.mid_circuit_measurement,
        control_flow=message.control_flow,
        twirling=message.twirling,
        dynamical_decoupling=tuple(message.dynamical_decoupling),
        resilience_levels=tuple(message.resilience_levels),
        readout_mitigation=message.readout_mitigation,
        execution_modes=tuple(message.execution_modes),
    )


def _read_target(message: qpu_pb2.Target) -> Target:
    return Target(
        num_qubits=message.num_qubits,
        dt=message.dt if message.HasField("dt") else None,
        instructions=tuple(
            TargetInstruction(
                found.name, tuple(found.parameters), tuple(_read_site(gate) for gate in found.gates)
            )
            for found in message.instructions
        ),
        qubits=tuple(_read_qubit(qubit) for qubit in message.qubits),
    )


def _read_site(message: qpu_pb2.GateProperties) -> GateSite:
    return GateSite(
        tuple(message.qubits),
        message.error if message.HasField("error") else None,
        message.duration_seconds if message.HasField("duration_seconds") else None,
    )


def _read_qubit(message: qpu_pb2.QubitProperties) -> TargetQubit:
    return TargetQubit(
        message.t1_seconds if message.HasField("t1_seconds") else None,
        message.t2_seconds if message.HasField("t2_seconds") else None,
        message.prob_meas1_prep0 if message.HasField("prob_meas1_prep0") else None,
        message.prob_meas0_prep1 if message.HasField("prob_meas0_prep1") else None,
    )
