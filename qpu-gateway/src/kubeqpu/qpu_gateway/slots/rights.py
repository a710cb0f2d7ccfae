"""What holding a slot allows: its pod uses the slot's QPU."""

import math
import time
from collections import OrderedDict
from collections.abc import Collection

import structlog

from kubeqpu.qpu_gateway.access import Caller, Pod, Verb
from kubeqpu.qpu_gateway.errors import ClusterUnavailableError
from kubeqpu.qpu_gateway.jobs import Submitter
from kubeqpu.qpu_gateway.slots.holdings import PROOF_SECONDS, is_successor, pin
from kubeqpu.qpu_gateway.slots.keeper import SlotKeeper
from kubeqpu.qpu_gateway.slots.slot import Holding, Slot

_LOG = structlog.get_logger(__name__)

PATIENCE_SECONDS = 3.0
_REMEMBERED = 4096
# A contender that was quiet for longer begins anew.
_CONTENTION_SECONDS = 3600.0


class SlotHolders:
    """Tells who may use a QPU because its pod holds a slot of it.

    Args:
        keeper: Knows the slots.
        qpus: Names of this gateway's QPUs.
        patience_seconds: How long a caller waits for a report that is on its way.
    """

    def __init__(
        self,
        keeper: SlotKeeper,
        qpus: Collection[str],
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        self._keeper = keeper
        self._qpus = frozenset(qpus)
        self._patience_seconds = patience_seconds
        self._first_seen: OrderedDict[str, float] = OrderedDict()
        self._contenders: OrderedDict[tuple[str, str], float] = OrderedDict()

    def holds(self, caller: Caller, qpu: str) -> bool:
        """Tells whether the caller's pod holds a slot of a QPU, its uid being the pinned one."""
        return any(slot.qpu == qpu for slot in self._find_own(caller))

    def is_present(self, submitter: Submitter) -> bool:
        """Tells whether the pod that submitted a job may still hold a slot."""
        return self._keeper.ledger.covers(submitter)

    async def may(self, caller: Caller, verb: Verb, qpu: str) -> bool:
        """Tells whether the caller's pod holds a slot of a QPU, as far as is known now.

        The first token in a holding pins the pod's uid to it, durably.

        Raises:
            GatewayError: If that cannot be stored now.
        """
        pod = caller.pod
        if pod is None or not pod.node or qpu not in self._qpus:
            return False
        ledger = self._keeper.ledger
        held = ledger.held_by(pod.node, caller.namespace, pod.name)
        if not any(slot.qpu == qpu for slot in held):
            return False
        # Once its holding has ended, there is no report to wait for.
        self._first_seen[pod.uid] = -math.inf
        _shorten(self._first_seen)
        self._keeper.apply(pin(held, pod.uid, self._keeper.wall_clock()))
        if not self.holds(caller, qpu):
            self._contend(pod, held)
        if any(not ledger.is_stored(slot) for slot in self._find_own(caller)):
            await self._keeper.saver.flush()
        return self.holds(caller, qpu)

    async def wait(self, caller: Caller, verb: Verb, qpu: str) -> bool:
        """Waits for the report that the caller's pod holds a slot of a QPU.

        A pod is waited for once, from when it came first, so that one that never holds anything is
        refused at once later. While its node's device plugin is not connected, nobody can tell.

        Raises:
            ClusterUnavailableError: If it cannot be found out now.
            GatewayError: If what was found out cannot be stored now.
        """
        pod = caller.pod
        if pod is None or not pod.node or qpu not in self._qpus:
            return False
        if self._is_contending(caller, pod, qpu):
            raise ClusterUnavailableError(
                f"A slot of QPU {qpu} was held by an earlier pod {caller.namespace}/{pod.name}; "
                "whether it passed on to this one, the next reports tell. Try again."
            )
        now = time.monotonic()
        ends_at = self._see(pod.uid, now) + self._patience_seconds
        if not self._has_report(pod.node):
            ends_at = now + self._patience_seconds
        while self._may_come(caller, pod, qpu):
            left = ends_at - time.monotonic()
            if left <= 0:
                break
            await self._keeper.wait_for_change(left)
            if await self.may(caller, verb, qpu):
                return True
        if not self._has_report(pod.node) and self._may_come(caller, pod, qpu):
            raise ClusterUnavailableError(
                f"The device plugin of node {pod.node} is not connected to this gateway, so it is "
                f"not known whether pod {caller.namespace}/{pod.name} holds a slot of QPU {qpu}. "
                "Try again."
            )
        return False

    def _find_own(self, caller: Caller) -> list[Slot]:
        pod = caller.pod
        if pod is None or not pod.node:
            return []
        held = self._keeper.ledger.held_by(pod.node, caller.namespace, pod.name)
        return [slot for slot in held if slot.holding is not None and slot.holding.uid == pod.uid]

    def _has_report(self, node: str) -> bool:
        stream = self._keeper.find_stream(node)
        return stream is not None and stream.report is not None

    def _may_come(self, caller: Caller, pod: Pod, qpu: str) -> bool:
        """Tells whether a report could still name the pod: its slots are reported together."""
        ledger = self._keeper.ledger
        if ledger.held_by(pod.node, caller.namespace, pod.name):
            return False
        return any(slot.qpu == qpu for slot in ledger.on_node(pod.node))

    def _see(self, uid: str, now: float) -> float:
        seen = self._first_seen.setdefault(uid, now)
        _shorten(self._first_seen)
        return seen

    def _is_contending(self, caller: Caller, pod: Pod, qpu: str) -> bool:
        """Tells whether a pod is known to be the successor of the one that a slot is pinned to."""
        held = self._keeper.ledger.held_by(pod.node, caller.namespace, pod.name)
        return any(
            self._contenders.get((slot.id, pod.uid), 0.0) - slot.holding.pinned_at >= PROOF_SECONDS
            for slot in held
            if slot.qpu == qpu and slot.holding is not None
        )

    def _contend(self, pod: Pod, held: list[Slot]) -> None:
        """Hands holdings over to a pod that took them over unnoticed; see `is_successor`."""
        stream = self._keeper.find_stream(pod.node)
        if stream is None:
            return
        now = self._keeper.wall_clock()
        for slot in held:
            holding = slot.holding
            assert holding is not None
            key = (slot.id, pod.uid)
            seen_at = self._contenders.get(key, now)
            if seen_at > now or now - seen_at > _CONTENTION_SECONDS:
                seen_at = now
            if is_successor(holding, seen_at, stream.reported_at, now):
                _LOG.info("Holding passed on", slot=slot.id, pod=holding.reference)
                fresh = Holding(holding.namespace, holding.pod, holding.container)
                handed = Slot(slot.qpu, slot.number, slot.node, slot.generation, fresh)
                self._keeper.apply(pin([handed], pod.uid, now))
                self._contenders.pop(key, None)
            else:
                # Before that, its token proves nothing: its time starts later.
                early = seen_at - holding.pinned_at < PROOF_SECONDS
                self._contenders[key] = now if early else seen_at
                _shorten(self._contenders)


def _shorten(seen: OrderedDict[str, float] | OrderedDict[tuple[str, str], float]) -> None:
    while len(seen) > _REMEMBERED:
        seen.popitem(last=False)
