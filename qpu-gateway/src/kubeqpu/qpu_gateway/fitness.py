"""Whether a QPU can run a job: its size, its gates and every option the job sets. Pure."""

from collections.abc import Iterable, Mapping, Sequence

from kubeqpu.proto.v1 import gateway_pb2, qpu_pb2
from kubeqpu.qpu_gateway.circuits import CircuitSummary
from kubeqpu.qpu_gateway.errors import (
    CircuitError,
    InvalidRequestError,
    UnsupportedOptionError,
)

_MODES = {
    gateway_pb2.EXECUTION_MODE_BATCH: "batch",
    gateway_pb2.EXECUTION_MODE_SESSION: "session",
}
# In every target, or a capability of its own.
_NO_GATES = frozenset(
    [
        *("barrier", "measure", "reset", "delay", "id", "store", "box", "if_else", "for_loop"),
        *("while_loop", "switch_case", "break_loop", "continue_loop"),
    ]
)


def check_fitness(
    spec: gateway_pb2.JobSpec, summaries: Sequence[CircuitSummary], qpu: qpu_pb2.QPU
) -> None:
    """Checks a valid job against the QPU it is meant for.

    Raises:
        CircuitError: If a circuit cannot run there.
        UnsupportedOptionError: If an option is set that its provider lacks.
        InvalidRequestError: If the job asks for too many shots or contradicts itself.
    """
    _check_options(spec.options, qpu)
    for index in sorted(_used_templates(spec)):
        _check_circuit(summaries[index], index, qpu, _is_transpiled(spec.options))
    _check_layout(spec, summaries, qpu)
    if spec.HasField("sampler"):
        _check_shots(spec.sampler.entries, qpu)
    elif spec.estimator.exact and (qpu.noisy or not qpu.capabilities.exact):
        why = "noisy" if qpu.noisy else "without exact expectation values"
        raise UnsupportedOptionError(
            f"QPU {qpu.name} is {why}, so it cannot answer `exact`; set a precision, or use a "
            "simulator without noise."
        )


def _used_templates(spec: gateway_pb2.JobSpec) -> set[int]:
    entries = spec.sampler.entries if spec.HasField("sampler") else spec.estimator.entries
    return {entry.template for entry in entries}


def _is_transpiled(options: gateway_pb2.Options) -> bool:
    return options.WhichOneof("transpilation") is not None


def _check_circuit(summary: CircuitSummary, index: int, qpu: qpu_pb2.QPU, transpiled: bool) -> None:
    can = qpu.capabilities
    if summary.num_qubits > qpu.num_qubits:
        raise CircuitError(
            f"Circuit {index} has {summary.num_qubits} qubits, but QPU {qpu.name} has "
            f"{qpu.num_qubits}; cut the circuit or use a larger QPU."
        )
    if summary.control_flow and not can.control_flow:
        raise CircuitError(
            f"Circuit {index} has control flow, which QPU {qpu.name} cannot run; remove conditions "
            "and loops, or use a QPU with the capability `control_flow`."
        )
    if summary.mid_circuit and not can.mid_circuit_measurement:
        raise CircuitError(
            f"Circuit {index} measures or resets in mid-circuit, which QPU {qpu.name} cannot run; "
            "measure at the end, or use a QPU with the capability `mid_circuit_measurement`."
        )
    _check_gates(summary.operations, index, qpu, transpiled)


def _check_gates(
    operations: Mapping[str, int], index: int, qpu: qpu_pb2.QPU, transpiled: bool
) -> None:
    if transpiled or not qpu.basis_gates:
        return
    unknown = sorted(set(operations) - _NO_GATES - set(qpu.basis_gates))
    if unknown:
        hint = " or set `transpile_level`" if qpu.capabilities.transpile else ""
        raise CircuitError(
            f"Circuit {index} uses {', '.join(unknown[:5])}, which QPU {qpu.name} does not know; "
            f"transpile the circuit to its basis gates{hint}."
        )


def _check_shots(entries: Iterable[gateway_pb2.SamplerEntry], qpu: qpu_pb2.QPU) -> None:
    most = max(max(entry.shots) for entry in entries)
    if most > qpu.max_shots > 0:
        raise InvalidRequestError(
            f"The job asks for {most} shots of one circuit, but QPU {qpu.name} takes at most "
            f"{qpu.max_shots}; ask for fewer, or repeat the circuit in more rows."
        )


def _check_options(options: gateway_pb2.Options, qpu: qpu_pb2.QPU) -> None:
    can = qpu.capabilities
    if _is_transpiled(options) and not can.transpile:
        _refuse("transpilation", qpu, "transpile the circuits yourself")
    if options.HasField("transpile_level") and options.transpile_level > 3:
        raise InvalidRequestError(
            f"The transpile level is {options.transpile_level}; expected 0 to 3."
        )
    twirling = options.twirling
    asks_twirling = twirling.gates or twirling.measurement or twirling.HasField("randomizations")
    if options.HasField("twirling") and asks_twirling and not can.twirling:
        _refuse("twirling", qpu)
    if options.HasField("dynamical_decoupling"):
        _check_decoupling(options.dynamical_decoupling.sequence, qpu)
    if options.resilience_level and options.resilience_level not in can.resilience_levels:
        _refuse(f"resilience level {options.resilience_level}", qpu)
    if options.readout_mitigation and not can.readout_mitigation:
        _refuse("readout mitigation", qpu)
    _check_mode(options, qpu)


def _check_decoupling(sequence: str, qpu: qpu_pb2.QPU) -> None:
    known = list(qpu.capabilities.dynamical_decoupling)
    if not known:
        _refuse("dynamical decoupling", qpu)
    if sequence not in known:
        raise UnsupportedOptionError(
            f"QPU {qpu.name} does not know the decoupling sequence {sequence!r}; choose one of "
            f"{', '.join(known)}."
        )


def _check_mode(options: gateway_pb2.Options, qpu: qpu_pb2.QPU) -> None:
    mode = _MODES.get(options.execution_mode)
    if mode is None:
        if options.execution_id:
            raise InvalidRequestError(
                "The job has an execution id, but its execution mode joins no other work; set the "
                "mode to batch or session, or leave the id out."
            )
        known = (
            gateway_pb2.EXECUTION_MODE_UNSPECIFIED,
            gateway_pb2.EXECUTION_MODE_JOB,
        )
        if options.execution_mode not in known:
            raise InvalidRequestError(
                f"The execution mode {options.execution_mode} is unknown; choose job, batch or "
                "session."
            )
    elif mode not in qpu.capabilities.execution_modes:
        _refuse(f"execution mode {mode}", qpu, "use the mode job")


def _check_layout(
    spec: gateway_pb2.JobSpec, summaries: Sequence[CircuitSummary], qpu: qpu_pb2.QPU
) -> None:
    if not spec.options.HasField("initial_layout"):
        return
    qubits = list(spec.options.initial_layout.qubits)
    if len(set(qubits)) != len(qubits):
        raise InvalidRequestError("The layout names a physical qubit twice; name each once.")
    if any(qubit >= qpu.num_qubits for qubit in qubits):
        raise InvalidRequestError(
            f"The layout names qubit {max(qubits)}, but QPU {qpu.name} has {qpu.num_qubits}, "
            "counted from 0."
        )
    for index in sorted(_used_templates(spec)):
        if summaries[index].num_qubits != len(qubits):
            raise InvalidRequestError(
                f"The layout names {len(qubits)} qubits, but circuit {index} has "
                f"{summaries[index].num_qubits}; name one physical qubit per circuit qubit."
            )


def _refuse(option: str, qpu: qpu_pb2.QPU, instead: str = "leave the option out") -> None:
    raise UnsupportedOptionError(
        f"QPU {qpu.name} does not support {option}; {instead}, or use another QPU."
    )
