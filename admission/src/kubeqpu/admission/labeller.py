"""Keeps the labels of nodes as their slots are."""

import asyncio
import time
from collections.abc import Callable, Collection

import structlog

from kubeqpu.admission import nodelabels, nodes
from kubeqpu.admission.nodelabels import Slots
from kubeqpu.admission.telemetry import Telemetry
from kubeqpu.common import api
from kubeqpu.kube.errors import CONFLICT, APIServerError
from kubeqpu.kube.objects import ObjectsAPI

_LOG = structlog.get_logger(__name__)
_LOOK_SECONDS = 1.0
# How often all nodes are looked at, for what others did to their labels.
_RESYNC_SECONDS = 60.0
_AT_ONCE = 10
_WRITES_PER_SECOND = 50.0
# Refusals of one node; after any other the next one would fail as well.
_OWN_FAULTS = frozenset({400, 403, CONFLICT, 413, 422})


class NodeLabeller:
    """Labels nodes by the slots that QPUs say they have there.

    The catalogue tells it of QPUs, at first of all: before that, no label can be called wrong.

    Args:
        objects: The API server.
        is_leader: Tells whether we may write at this moment.
        telemetry: Counts what is written.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        objects: ObjectsAPI,
        is_leader: Callable[[], bool],
        telemetry: Telemetry,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._objects = objects
        self._is_leader = is_leader
        self._telemetry = telemetry
        self._clock = clock
        self._wake: Callable[[], None] = lambda: None
        self._qpus: dict[str, Slots] | None = None
        self._changed = False
        self._wanted: dict[str, frozenset[str]] = {}
        self._found: dict[str, dict[str, str]] | None = None
        self._absent: set[str] = set()
        self._refused: dict[str, APIServerError] = {}
        self._list_at = 0.0
        self._write_at = 0.0

    def wake_by(self, wake: Callable[[], None]) -> None:
        """Has a function called when labels may have to change."""
        self._wake = wake

    def see_all(self, qpus: Collection[api.QPU]) -> None:
        """Takes in all QPUs."""
        self._qpus = {qpu.metadata.name: nodelabels.read_slots(qpu) for qpu in qpus}
        self._change()

    def see(self, qpu: api.QPU) -> None:
        """Takes in a QPU that is new or changed."""
        slots = nodelabels.read_slots(qpu)
        if self._qpus is None or self._qpus.get(slots.qpu) == slots:
            return
        self._qpus[slots.qpu] = slots
        self._change()

    def forget(self, name: str) -> None:
        """Takes in that a QPU is gone."""
        if self._qpus is not None and self._qpus.pop(name, None) is not None:
            self._change()

    def _change(self) -> None:
        self._changed = True
        self._wake()

    def _decide_anew(self) -> None:
        if self._changed and self._qpus is not None:
            self._changed = False
            self._wanted = nodelabels.want(self._qpus.values())

    async def step(self) -> float:
        """Writes the labels of a few nodes; gives the seconds until the next time.

        Raises:
            APIServerError: If the API server was not reached, or refused to change a node; the
                others are as they should be.
        """
        if not self._is_leader():
            self._found = None  # what another leader does meanwhile is not seen
            return _LOOK_SECONDS
        if self._qpus is None:
            return _LOOK_SECONDS
        if self._found is None or self._clock() >= self._list_at:
            self._found = await nodes.list_labels(self._objects)
            self._list_at = self._clock() + _RESYNC_SECONDS
            self._absent.clear()
        pending = self._find_pending(self._found)
        if pending:
            await self._write(pending[:_AT_ONCE], self._found)
            return 0.0
        if self._refused:
            errors = list(self._refused.values())
            self._refused.clear()
            raise errors[0]
        return self._list_at - self._clock()

    def _find_pending(self, found: dict[str, dict[str, str]]) -> list[str]:
        self._decide_anew()
        return [
            node
            for node in self._wanted.keys() | found.keys()
            if node not in self._absent and node not in self._refused and self._decide(node, found)
        ]

    def _decide(self, node: str, found: dict[str, dict[str, str]]) -> dict[str, str | None]:
        return nodelabels.mend(found.get(node, {}), self._wanted.get(node, frozenset()))

    async def _write(self, pending: list[str], found: dict[str, dict[str, str]]) -> None:
        """Writes labels, after as long a while as the writes before allow."""
        await asyncio.sleep(max(0.0, self._write_at - self._clock()))
        self._decide_anew()
        self._write_at = self._clock() + len(pending) / _WRITES_PER_SECOND
        results = await asyncio.gather(
            *(self._label(node, found) for node in pending), return_exceptions=True
        )
        for node, result in zip(pending, results, strict=True):
            if isinstance(result, APIServerError) and result.status in _OWN_FAULTS:
                self._refused[node] = result
            elif isinstance(result, BaseException):
                raise result

    async def _label(self, node: str, found: dict[str, dict[str, str]]) -> None:
        patch = self._decide(node, found)
        if not patch or not self._is_leader():
            return
        if not await nodes.merge_labels(self._objects, node, patch):
            # Until all nodes are looked at again: it may come back, or be new.
            self._absent.add(node)
            found.pop(node, None)
            return
        # Taken for done even if something changes it at once: the next look at all tells.
        labels = {**found.get(node, {}), **patch}
        found[node] = {key: value for key, value in labels.items() if value is not None}
        self._telemetry.count_write("node")
        _LOG.info("Node labelled", node=node,
                  added=sorted(key for key, value in patch.items() if value is not None),
                  removed=sorted(key for key, value in patch.items() if value is None))  # fmt: skip
