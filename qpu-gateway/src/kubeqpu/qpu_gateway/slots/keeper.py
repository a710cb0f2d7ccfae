"""Keeps the slots: decides where they live, takes reports in, and tells everybody concerned."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

import structlog

from kubeqpu.qpu_gateway.access.refusals import LogBudget
from kubeqpu.qpu_gateway.errors import StreamSupersededError
from kubeqpu.qpu_gateway.qpus import ServedQPU
from kubeqpu.qpu_gateway.settings import ClusterSettings
from kubeqpu.qpu_gateway.slots import shares
from kubeqpu.qpu_gateway.slots.board import SlotBoard
from kubeqpu.qpu_gateway.slots.holdings import Reported, read_report
from kubeqpu.qpu_gateway.slots.ledger import Ledger
from kubeqpu.qpu_gateway.slots.saver import Saver
from kubeqpu.qpu_gateway.slots.slot import NodeFacts, Slot
from kubeqpu.qpu_gateway.slots.streams import PluginStream
from kubeqpu.qpu_gateway.telemetry import Telemetry

_LOG = structlog.get_logger(__name__)

_LONGEST_PAUSE_SECONDS = 5.0
_FLUSH_SECONDS = 2.0


class SlotStore(Protocol):
    """Where slots are stored."""

    async def read_slots(self) -> list[Slot]:
        """Reads all slots."""

    async def save_slots(self, slots: Sequence[Slot]) -> None:
        """Stores slots, all or none."""


class SlotKeeper:
    """Keeps the slots of a gateway's QPUs.

    Everything is decided in memory at once; nodes are told only what is stored.

    Args:
        cluster: The cluster's section of the gateway's settings.
        node_name: The node that the gateway's pod runs on.
        qpus: The QPUs by name.
        store: Where slots are stored.
        telemetry: Told what happens.
        clock: Gives seconds that never go back.
        wall_clock: Gives seconds since the epoch.

    Attributes:
        ledger: The slots; empty before `start`.
        saver: Stores them.
        board: Shows them.
        on_change: Called with a QPU whose shares or holders changed.
    """

    def __init__(
        self,
        cluster: ClusterSettings,
        node_name: str,
        qpus: Mapping[str, ServedQPU],
        store: SlotStore,
        telemetry: Telemetry,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self.wall_clock = wall_clock
        self._clock = clock
        self._cluster = cluster
        self._node_name = node_name
        self._qpus = qpus
        self._store = store
        self._telemetry = telemetry
        self._counts = {name: served.settings.slots for name, served in qpus.items()}
        self.ledger = Ledger(self._counts)
        self.saver = Saver(self.ledger, store.save_slots, self._note_saved)
        self.board = SlotBoard(self.ledger, qpus, telemetry, self._wake_all)
        self.on_change: Callable[[str], None] = lambda qpu: None
        self._nodes: Mapping[str, NodeFacts] | None = None
        self._streams: dict[str, PluginStream] = {}
        self._lost_at: dict[str, float] = {}
        self._connected_since: dict[str, float] = {}
        self._due = asyncio.Event()
        self._changed = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._budget = LogBudget()

    async def start(self) -> None:
        """Takes up what an earlier process stored, and begins to decide."""
        found = await self._store.read_slots()
        self.ledger.load(found)
        # Silence counts from when it could have been broken.
        self._lost_at = dict.fromkeys(self.ledger.nodes, self._clock())
        for qpu, count in self._counts.items():
            self.apply(shares.complete(qpu, self.ledger.of_qpu(qpu), count))
            self.board.measure(qpu)
        self._tasks = [asyncio.create_task(self._run()), asyncio.create_task(self.saver.run())]

    async def stop(self) -> None:
        """Stores what is not stored yet, as far as that is quick."""
        running, self._tasks = self._tasks, []
        if running:
            with contextlib.suppress(Exception):
                async with asyncio.timeout(_FLUSH_SECONDS):
                    await self.saver.flush()
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    def connect(self, node: str) -> PluginStream:
        """Opens a node's stream; one that is there already ends."""
        now = self._clock()
        stream = PluginStream(node, now)
        old = self._streams.get(node)
        self._streams[node] = stream
        self._lost_at.pop(node, None)
        if old is not None:
            old.end(
                StreamSupersededError(
                    f"Another stream of node {node}'s device plugin took this one's place; if this "
                    "is the newer plugin, connect again."
                )
            )
        self._telemetry.set_slot_streams(len(self._streams))
        _LOG.info("Device plugin connected", node=node, superseded=old is not None)
        self._due.set()
        return stream

    def disconnect(self, stream: PluginStream) -> None:
        """Notes that a stream ended; one that was superseded says nothing about its node."""
        if self._streams.get(stream.node) is not stream:
            return
        del self._streams[stream.node]
        self._lost_at[stream.node] = self._clock()
        self._telemetry.set_slot_streams(len(self._streams))
        _LOG.info("Device plugin disconnected", node=stream.node)
        self._due.set()

    def find_stream(self, node: str) -> PluginStream | None:
        """Gives the stream of a node, or None."""
        return self._streams.get(node)

    def take_report(self, stream: PluginStream, report: Sequence[Reported]) -> None:
        """Takes a node's complete list of holders in."""
        stream.heard_at = self._clock()
        if self._streams.get(stream.node) is not stream:
            return
        first = stream.report is None
        stream.report, stream.reported_at = tuple(report), self.wall_clock()
        self._read(stream)
        if first:
            self._due.set()
            stream.wake()
            self._notify()

    def see_nodes(self, nodes: Mapping[str, NodeFacts]) -> None:
        """Takes in all nodes of the cluster."""
        self._nodes = nodes
        self._due.set()

    def apply(self, changed: Iterable[Slot]) -> None:
        """Takes changed slots in, stores them, and tells everybody concerned."""
        changed = tuple(changed)
        if not changed:
            return
        for slot in changed:
            old = self.ledger.find(slot.id)
            if old is not None and old.node != slot.node:
                self._wake(old.node)
            self._wake(slot.node)
        self.ledger.apply(changed)
        self.saver.request()
        for qpu in {slot.qpu for slot in changed}:
            self.board.measure(qpu)
            self.on_change(qpu)
        self._notify()

    async def wait_for_change(self, seconds: float) -> None:
        """Waits until a holder or a stream's first report comes, or for a time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._changed.wait()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def _wake(self, node: str) -> None:
        stream = self._streams.get(node)
        if stream is not None:
            stream.wake()

    def _wake_all(self) -> None:
        for stream in self._streams.values():
            stream.wake()

    def _note_saved(self, slots: Sequence[Slot]) -> None:
        for node in {slot.node for slot in slots}:
            self._wake(node)

    async def _run(self) -> None:
        while True:
            self._due.clear()
            pause = 1.0
            try:
                pause = self._decide(self._clock())
            except Exception:
                _LOG.exception("Slots not divided")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._due.wait()

    def _decide(self, now: float) -> float:
        """Moves what has to move; returns the seconds until more may have to."""
        silent = {
            name: now - since for name, since in self._lost_at.items() if name not in self._streams
        }
        longest = self._cluster.slot_return_seconds
        gone = shares.find_gone(self.ledger.nodes, self._nodes, silent, longest)
        for node in gone:
            _LOG.warning("Slots returned to the pool", node=node,
                         slots=len(self.ledger.on_node(node)))  # fmt: skip
            self.apply(shares.give_back(self.ledger.on_node(node), (node,)))
        kept = self.ledger.nodes
        self._lost_at = {name: at for name, at in self._lost_at.items() if name in kept}
        pauses = [self._divide(qpu, now) for qpu in self._qpus]
        pauses += [longest - (now - at) for at in self._lost_at.values()]
        return max(0.01, min([*pauses, _LONGEST_PAUSE_SECONDS]))

    def _divide(self, qpu: str, now: float) -> float:
        """Divides a QPU's slots that are in the pool; returns the seconds to wait until then."""
        matching = self._find_matching(qpu)
        connected = [
            name for name in matching
            if (stream := self._streams.get(name)) is not None and stream.report is not None
        ]  # fmt: skip
        if not connected:
            self._connected_since.pop(qpu, None)
            return _LONGEST_PAUSE_SECONDS
        since = self._connected_since.setdefault(qpu, now)
        wait = shares.seconds_to_settle(
            matching, connected, since, now, self._cluster.slot_settle_seconds
        )
        if wait > 0:
            return wait
        slots = self.ledger.of_qpu(qpu)
        if all(slot.node for slot in slots):
            return _LONGEST_PAUSE_SECONDS
        claims = self._find_claims(connected)
        changed = shares.divide(slots, self._counts[qpu], connected, claims)
        if changed:
            _LOG.info("Slots divided", qpu=qpu, slots=len(changed), nodes=sorted(connected))
            self.apply(changed)
            # What a kubelet gave away before holds a slot from here on.
            for node in {slot.node for slot in changed}:
                self._read(self._streams[node])
        return _LONGEST_PAUSE_SECONDS

    def _find_matching(self, qpu: str) -> frozenset[str]:
        settings = self._qpus[qpu].settings
        nodes = self._nodes
        if settings.slot_placement == "Spread":
            # Without knowing the nodes, nobody can tell which of them to wait for.
            return shares.find_matching(nodes or {}, settings.slot_node_selector)
        own = {self._node_name} - {""}
        return frozenset(own if nodes is None else own & shares.find_matching(nodes, {}))

    def _find_claims(self, nodes: Iterable[str]) -> dict[str, str]:
        claims: dict[str, str] = {}
        for node in sorted(nodes):
            for line in self._streams[node].report or ():
                claims.setdefault(line.slot, node)
        return claims

    def _read(self, stream: PluginStream) -> None:
        assert stream.report is not None
        on_node = self.ledger.on_node(stream.node)
        reading = read_report(
            stream.node, on_node, self.ledger, self._qpus, stream.report, stream.pods
        )
        stream.pods = reading.pods
        refused = frozenset(reading.refused)
        for line, why in refused - stream.refused:
            self._telemetry.count_refused_report(why.value)
            if (suppressed := self._budget.spend()) is not None:
                _LOG.warning("Holder refused", node=stream.node, slot=line.slot[:80],
                             pod=f"{line.namespace[:63]}/{line.pod[:253]}", reason=why.value,
                             suppressed=suppressed)  # fmt: skip
        stream.refused = refused
        self.apply(reading.changed)
