"""Whether a QPU's slots may be given to pods, and how good they are. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from kubeqpu.common.placement import DEFAULT_SHAPE, Weights, score
from kubeqpu.common.qpu import ConditionStatus
from kubeqpu.proto.v1 import qpu_pb2
from kubeqpu.qpu_gateway.cluster.statuses import ACCEPTING, READY, Verdict
from kubeqpu.qpu_gateway.messages import to_qpu

_MAX_REASON = 500
_DIGITS = 3


@dataclass(frozen=True)
class Health:
    """Whether slots are healthy.

    Attributes:
        healthy: Whether they are.
        reason: Why they are not; empty where they are.
    """

    healthy: bool
    reason: str = ""


def judge(qpu: str, verdicts: Mapping[str, Verdict], unschedulable: bool, taken: str) -> Health:
    """Judges a QPU's slots: how long its queue is and how old its calibration, does not matter.

    Args:
        qpu: Name of the QPU.
        verdicts: Its conditions by type.
        unschedulable: Whether it is cordoned.
        taken: Why it is not this gateway's; empty where it is.
    """
    if taken:
        return Health(False, taken[:_MAX_REASON])
    if unschedulable:
        return Health(False, f"QPU {qpu} is cordoned by an operator.")
    for kind in (READY, ACCEPTING):
        verdict = verdicts.get(kind)
        if verdict is None or verdict.status is not ConditionStatus.TRUE:
            status = "not reported" if verdict is None else str(verdict.status)
            detail = f": {verdict.message}" if verdict is not None and verdict.message else ""
            return Health(False, f"{kind} of QPU {qpu} is {status}{detail}"[:_MAX_REASON])
    return Health(True)


def score_slots(message: qpu_pb2.QPU, held: int, labels: Mapping[str, str], now: datetime) -> float:
    """Gives the placement score of a QPU's slots, 0 to 1, higher is better."""
    plain = to_qpu(message, held, labels=labels)
    return round(score(plain, Weights(), DEFAULT_SHAPE, now).total, _DIGITS)
