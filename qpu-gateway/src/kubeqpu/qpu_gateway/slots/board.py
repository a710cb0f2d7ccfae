"""What others are told of the slots: device plugins, the QPU objects, the metrics."""

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

import structlog

from kubeqpu.common import api
from kubeqpu.proto.v1 import qpu_pb2, slots_pb2
from kubeqpu.qpu_gateway.cluster.statuses import Verdict
from kubeqpu.qpu_gateway.qpus import ServedQPU
from kubeqpu.qpu_gateway.slots.health import Health, judge, score_slots
from kubeqpu.qpu_gateway.slots.ledger import Ledger
from kubeqpu.qpu_gateway.telemetry import Telemetry

_LOG = structlog.get_logger(__name__)

# So long a gateway that has just started may take to find out how its QPUs are.
_START_SECONDS = 5.0
_UNKNOWN = Health(False, "The gateway does not know yet how the QPU is.")


class SlotBoard:
    """Shows the slots and how their QPUs are.

    Args:
        ledger: The slots.
        qpus: The QPUs by name.
        telemetry: Told how many slots are in which state.
        on_health: Called when the slots of a QPU became healthy or unhealthy.
    """

    def __init__(
        self,
        ledger: Ledger,
        qpus: Mapping[str, ServedQPU],
        telemetry: Telemetry,
        on_health: Callable[[], None],
    ) -> None:
        self._ledger = ledger
        self._qpus = qpus
        self._telemetry = telemetry
        self._on_health = on_health
        self._healths: dict[str, Health] = {}
        self._messages: dict[str, qpu_pb2.QPU] = {}
        self._began = time.monotonic()

    def observe(
        self, qpu: str, message: qpu_pb2.QPU, verdicts: Mapping[str, Verdict], taken: str
    ) -> None:
        """Takes in how a QPU is.

        Args:
            qpu: Its name.
            message: Its description.
            verdicts: Its conditions by type.
            taken: Why it is not this gateway's; empty where it is.
        """
        served = self._qpus[qpu]
        if served.starting and time.monotonic() - self._began < _START_SECONDS:
            return
        self._messages[qpu] = message
        health = judge(qpu, verdicts, served.unschedulable, taken)
        old = self._healths.get(qpu)
        if health == old:
            return
        self._healths[qpu] = health
        if old is None or old.healthy != health.healthy:
            _LOG.info("Slots healthy" if health.healthy else "Slots unhealthy", qpu=qpu,
                      reason=health.reason)  # fmt: skip
        self.measure(qpu)
        self._on_health()

    def list_slots(self, node: str) -> list[slots_pb2.Slot] | None:
        """Lists the slots that a node may offer; None while nothing is known yet."""
        young = time.monotonic() - self._began < _START_SECONDS
        if young and len(self._healths) < len(self._qpus):
            return None
        offered = sorted(self._ledger.offered_on(node), key=lambda slot: (slot.qpu, slot.number))
        scores: dict[str, float] = {}
        made = []
        for slot in offered:
            if slot.qpu not in scores:
                scores[slot.qpu] = self._score(slot.qpu)
            health = self._healths.get(slot.qpu, _UNKNOWN)
            made.append(
                slots_pb2.Slot(
                    id=slot.id,
                    qpu=slot.qpu,
                    resource_name=self._qpus[slot.qpu].settings.resource_name,
                    healthy=health.healthy,
                    reason=health.reason,
                    generation=slot.generation,
                    score=scores[slot.qpu],
                )
            )
        return made

    def nodes_of(self, qpu: str) -> tuple[api.NodeSlots, ...]:
        """Counts a QPU's slots, all and held, by node."""
        counts: dict[str, tuple[int, int]] = {}
        for slot in self._ledger.of_qpu(qpu):
            held = slot.holding is not None
            if slot.node and (held or not self._ledger.is_surplus(slot)):
                there, holding = counts.get(slot.node, (0, 0))
                counts[slot.node] = (there + 1, holding + held)
        return tuple(
            api.NodeSlots(name=name, slots=there, held=holding)
            for name, (there, holding) in sorted(counts.items())
        )

    def measure(self, qpu: str) -> None:
        """Counts a QPU's slots by their state."""
        health = self._healths.get(qpu, _UNKNOWN)
        states = dict.fromkeys(("free", "held", "unassigned", "unhealthy"), 0)
        for slot in self._ledger.of_qpu(qpu):
            if slot.holding is not None:
                states["held"] += 1
            elif not self._ledger.is_surplus(slot):
                state = "free" if health.healthy else "unhealthy"
                states[state if slot.node else "unassigned"] += 1
        self._telemetry.set_slots(qpu, states)

    def _score(self, qpu: str) -> float:
        message = self._messages.get(qpu)
        if message is None:
            return 0.0
        held = sum(slot.holding is not None for slot in self._ledger.of_qpu(qpu))
        return score_slots(message, held, self._qpus[qpu].labels, datetime.now(UTC))
