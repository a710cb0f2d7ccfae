"""What all parts of the device plugin share: the ledger, the holdings, and who waits for them."""

import asyncio
import time
from collections.abc import Coroutine, Iterable, Mapping, Sequence

import structlog

from kubeqpu.common.names import RESOURCES
from kubeqpu.deviceplugin.admissions import Admissions
from kubeqpu.deviceplugin.holdings import Holding, Holdings
from kubeqpu.deviceplugin.ledger import Ledger
from kubeqpu.deviceplugin.slots import Cause, Offer, Refusal
from kubeqpu.deviceplugin.telemetry import Telemetry

_LOG = structlog.get_logger(__name__)
_EXAMPLES = 5


class Signal:
    """A version that rises, and coroutines that wait for it."""

    def __init__(self) -> None:
        self.version = 0
        self._event = asyncio.Event()

    def raise_version(self) -> None:
        """Raises the version and wakes all that wait."""
        self.version += 1
        self._event.set()
        self._event = asyncio.Event()

    async def wait_beyond(self, seen: int) -> int:
        """Waits until the version is higher than one seen before; returns it."""
        while self.version <= seen:
            await self._event.wait()
        return self.version


async def first_of(*waits: Coroutine[object, object, object]) -> None:
    """Waits for the first of several coroutines and cancels the others."""
    tasks = [asyncio.create_task(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()


class Board:
    """Takes in news of gateways and of the kubelet, and tells those whom they concern.

    Args:
        ledger: The device lists.
        holdings: Who holds what.
        telemetry: Shows both.
    """

    def __init__(self, ledger: Ledger, holdings: Holdings, telemetry: Telemetry) -> None:
        self.ledger = ledger
        self.holdings = holdings
        self._telemetry = telemetry
        self.lists = {resource: Signal() for resource in RESOURCES}
        self.holders = Signal()
        self.allocations = Signal()
        self.admissions = Admissions()

    def join(self, gateway: str) -> None:
        """A stream to a gateway was opened."""
        self.ledger.join(gateway)

    def leave(self, gateway: str) -> None:
        """A stream to a gateway ended."""
        self.ledger.leave(gateway, time.monotonic())
        self.review()

    def hear(self, offer: Offer) -> None:
        """A gateway said which slots this node has."""
        refused = self.ledger.hear(offer, time.monotonic())
        for cause in Cause:
            self._log_refused(offer.gateway, [found for found in refused if found.cause is cause])
        self.review()

    def _log_refused(self, gateway: str, refused: list[Refusal]) -> None:
        if refused:
            _LOG.warning(
                "Slots refused", gateway=gateway, cause=refused[0].cause.value, slots=len(refused),
                examples=[found.text for found in refused[:_EXAMPLES]],
            )  # fmt: skip

    def inherit(self, listed: Mapping[str, Iterable[str]]) -> None:
        """The kubelet said which slots, by resource, it already lists."""
        self.ledger.inherit(listed)
        self.review()

    def observe(self, listed: Iterable[Holding], asked_at: float | None = None) -> None:
        """The kubelet said who holds what, after it was asked at a time by the monotonic clock."""
        before = self.holdings.held()
        if self.holdings.observe(listed, time.monotonic(), asked_at):
            self.holders.raise_version()
        if self.holdings.held() != before:
            self.hold()

    def hold(self) -> None:
        """Takes the held slots over into the lists."""
        self.ledger.hold(self.holdings.held())
        self.review()

    def allocate(self, resource: str, slots: Sequence[str]) -> None:
        """Slots were given to a container."""
        if self.holdings.allocate(slots, resource, time.monotonic()):
            self.holders.raise_version()
        self.ledger.give(slots)
        self.admissions.answer()
        self.allocations.raise_version()

    def review(self) -> None:
        """Judges every slot, and has the lists that changed sent."""
        for resource in self.ledger.review(time.monotonic()):
            self.lists[resource].raise_version()

    def show(self) -> None:
        """Updates the metrics that tell a state."""
        for resource in RESOURCES:
            entries = self.ledger.entries(resource)
            healthy = sum(entry.verdict.healthy for entry in entries.values())
            held = sum(self.ledger.is_held(slot) for slot in entries)
            self._telemetry.show_slots(resource, healthy, len(entries) - healthy, held)
            self._telemetry.show_list_bytes(resource, self.ledger.list_bytes(resource))
        refused = [found.cause for found in self.ledger.refusals()]
        for cause in Cause:
            self._telemetry.show_refused(cause, refused.count(cause))
