"""From what a provider reports to the status of a QPU object. Pure."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from pydantic import JsonValue

from kubeqpu.common import api
from kubeqpu.common.qpu import ConditionStatus
from kubeqpu.proto.v1 import qpu_pb2

READY, ACCEPTING, CALIBRATED = "Ready", "Accepting", "Calibrated"
_DIGITS = 3
_REASON = re.compile(r"[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?")
_MAX_MESSAGE = 4096
_MAX_GATES, _MAX_GATE_NAME = 256, 63
_MAX_CALIBRATION_ID = 253
_MAX_SECONDS = 1e9


@dataclass(frozen=True)
class Verdict:
    """A condition without its times.

    Attributes:
        status: Whether it holds.
        reason: CamelCase word for programs.
        message: Why, and what to do.
    """

    status: ConditionStatus
    reason: str
    message: str = ""


@dataclass(frozen=True)
class Context:
    """What the gateway knows beside the provider's report.

    Attributes:
        spec: The QPU's spec as it should be.
        endpoint: Where the gateway listens.
        generation: Generation of the object's spec that the gateway acts on.
        previous: The conditions so far, whose transition times are kept.
        now: The time, with time zone.
        overrides: Conditions on which the gateway knows better.
        nodes: Its slots by node, or None where nobody is given slots.
    """

    spec: api.QPUSpec
    endpoint: str
    generation: int | None
    previous: Sequence[api.Condition]
    now: datetime
    overrides: Mapping[str, Verdict]
    nodes: tuple[api.NodeSlots, ...] | None = None


def make_status(message: qpu_pb2.QPU, context: Context) -> api.QPUStatus:
    """Makes the status of a QPU object.

    What a provider reports wrongly is put right where that is safe, so that one odd number does not
    keep the rest from being written.

    Raises:
        ValueError: If the report cannot be written.
    """
    queue = message.queue
    fields: dict[str, object] = {
        "observed_generation": context.generation,
        "conditions": make_conditions(find_verdicts(message), context),
        "gateway": context.endpoint,
        "num_qubits": message.num_qubits,
        "max_shots": message.max_shots,
        "max_circuits": message.max_circuits,
        "basis_gates": tuple(gate[:_MAX_GATE_NAME] for gate in message.basis_gates[:_MAX_GATES]),
        "queue": api.QueueStatus(
            provider_pending=queue.provider_pending,
            gateway_pending=queue.gateway_pending,
            estimated_wait_seconds=_seconds(queue.estimated_wait_seconds),
        ),
    }
    if context.nodes is not None:
        fields["nodes"] = context.nodes
    if message.HasField("calibration"):
        fields["calibration"] = _calibration(message.calibration)
    status = api.QPUStatus.model_validate(fields)
    return status.model_copy(update={"summary": api.summarise(context.spec, status)})


def write_status(name: str, uid: str, status: api.QPUStatus) -> dict[str, JsonValue]:
    """Writes a status for server-side apply; it fits only the object with this uid."""
    content = status.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude_none=True)
    summary = status.summary.model_dump(mode="json", by_alias=True)
    return {
        "apiVersion": api.API_VERSION,
        "kind": api.QPU.resource.kind,
        "metadata": {"name": name, "uid": uid},
        "status": {**content, "summary": summary},
    }


def find_verdicts(message: qpu_pb2.QPU) -> dict[str, Verdict]:
    """Reads the three conditions; those a provider does not report are unknown."""
    known = {status.value: status for status in ConditionStatus}
    found = {
        condition.type: Verdict(
            known.get(condition.status, ConditionStatus.UNKNOWN),
            condition.reason if _REASON.fullmatch(condition.reason) else "Reported",
            condition.message[:_MAX_MESSAGE],
        )
        for condition in message.conditions
    }
    ready = found.get(READY)
    lacking = Verdict(ConditionStatus.UNKNOWN, "NotReported", "The provider does not report it.")
    if ready is not None and ready.status is not ConditionStatus.TRUE:
        lacking = Verdict(ConditionStatus.UNKNOWN, ready.reason, ready.message)
    return {kind: found.get(kind, lacking) for kind in (READY, ACCEPTING, CALIBRATED)}


def make_conditions(verdicts: Mapping[str, Verdict], context: Context) -> tuple[api.Condition, ...]:
    """Gives conditions their times: one whose status stays keeps the time of its transition."""
    before = {item.type: item for item in context.previous}
    now = context.now.astimezone(UTC).replace(microsecond=0)
    made = []
    for kind, verdict in {**verdicts, **context.overrides}.items():
        old = before.get(kind)
        kept = old is not None and old.status == verdict.status
        made.append(
            api.Condition(
                type=kind,
                status=verdict.status,
                reason=verdict.reason,
                message=verdict.message,
                last_transition_time=old.last_transition_time if old and kept else now,
                observed_generation=context.generation,
            )
        )
    return tuple(made)


def same_verdicts(one: Iterable[api.Condition], other: Iterable[api.Condition]) -> bool:
    """Tells whether the gateway's three conditions say the same."""
    return _said(one) == _said(other)


def _said(conditions: Iterable[api.Condition]) -> dict[str, tuple[str, str, str]]:
    return {
        item.type: (item.status, item.reason, item.message)
        for item in conditions
        if item.type in (READY, ACCEPTING, CALIBRATED)
    }


def _calibration(found: qpu_pb2.Calibration) -> api.CalibrationStatus:
    fields: dict[str, object] = {
        "id": found.id[:_MAX_CALIBRATION_ID],
        "time": found.time.ToDatetime(UTC).replace(microsecond=0),
        "median_one_qubit_error": _error(found.median_one_qubit_error),
        "median_two_qubit_error": _error(found.median_two_qubit_error),
        "median_readout_error": _error(found.median_readout_error),
        "median_t1_seconds": _seconds(found.median_t1_seconds),
        "median_t2_seconds": _seconds(found.median_t2_seconds),
        "dead_edges": found.dead_edges,
    }
    if found.HasField("eplg"):
        fields["eplg"] = _error(found.eplg)
    return api.CalibrationStatus.model_validate(fields)


def _error(value: float) -> float:
    """An error rate in three digits; what is none counts as the worst."""
    return _round(min(max(value, 0.0), 1.0)) if math.isfinite(value) else 1.0


def _seconds(value: float) -> float:
    return _round(min(max(value, 0.0), _MAX_SECONDS)) if math.isfinite(value) else 0.0


def _round(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")
