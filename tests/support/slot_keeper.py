"""A keeper of slots with one QPU, `q`, two nodes, a and b, and a store in memory."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from kubeqpu.common.qpu import ConditionStatus
from kubeqpu.proto.v1 import qpu_pb2
from kubeqpu.qpu_gateway.cluster.statuses import ACCEPTING, CALIBRATED, READY, Verdict
from kubeqpu.qpu_gateway.errors import StoreUnavailableError
from kubeqpu.qpu_gateway.providers.base import QPUSettings
from kubeqpu.qpu_gateway.qpus import ServedQPU
from kubeqpu.qpu_gateway.settings import ClusterSettings
from kubeqpu.qpu_gateway.slots.holdings import Reported
from kubeqpu.qpu_gateway.slots.keeper import SlotKeeper
from kubeqpu.qpu_gateway.slots.rights import SlotHolders
from kubeqpu.qpu_gateway.slots.slot import NodeFacts, Slot
from kubeqpu.qpu_gateway.slots.streams import PluginStream
from kubeqpu.qpu_gateway.telemetry import Telemetry
from tests.integration.gateway_support import CoinProvider
from tests.support.slots import cluster_section

GOOD = {kind: Verdict(ConditionStatus.TRUE, "Fine") for kind in (READY, ACCEPTING, CALIBRATED)}
NODES = {"a": NodeFacts({}), "b": NodeFacts({})}


@dataclass
class Shelf:
    """A store in memory that is away when told to be."""

    slots: dict[str, Slot] = field(default_factory=dict)
    away: bool = False

    async def read_slots(self) -> list[Slot]:
        return list(self.slots.values())

    async def save_slots(self, slots: Sequence[Slot]) -> None:
        await asyncio.sleep(0)
        if self.away:
            raise StoreUnavailableError("away")
        self.slots |= {slot.id: slot for slot in slots}


@dataclass
class Stand:
    keeper: SlotKeeper
    holders: SlotHolders
    shelf: Shelf
    now: float = 1_000_000.0

    def told(self, node: str) -> list[str]:
        return [slot.id for slot in self.keeper.board.list_slots(node) or ()]

    def connect(self, node: str, *report: Reported) -> PluginStream:
        stream = self.keeper.connect(node)
        self.keeper.take_report(stream, report)
        return stream


@asynccontextmanager
async def stand(shelf: Shelf | None = None, slots: int = 2) -> AsyncIterator[Stand]:
    shelf = shelf or Shelf()
    section = QPUSettings(name="q", provider="coin", slots=slots, slot_placement="Spread")
    qpus = {"q": ServedQPU(section, CoinProvider(section))}
    cluster = ClusterSettings.model_validate(cluster_section(slot_settle_seconds=0.0))
    keeper = SlotKeeper(cluster, "a", qpus, shelf, Telemetry(qpus), wall_clock=lambda: made.now)
    made = Stand(keeper, SlotHolders(keeper, qpus, patience_seconds=0.2), shelf)
    await keeper.start()
    keeper.see_nodes(NODES)
    keeper.board.observe("q", qpu_pb2.QPU(name="q"), GOOD, "")
    # A provider that starts is given time, so its first report does not count here.
    await qpus["q"].provider.start()
    qpus["q"].start()
    await qpus["q"].wait_started()
    keeper.board.observe("q", qpu_pb2.QPU(name="q"), GOOD, "")
    try:
        yield made
    finally:
        await keeper.stop()
        await qpus["q"].close()
