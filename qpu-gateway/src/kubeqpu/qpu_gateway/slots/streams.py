"""A device plugin's stream as the keeper sees it."""

import asyncio
from collections.abc import Mapping, Sequence

from kubeqpu.qpu_gateway.errors import GatewayError
from kubeqpu.qpu_gateway.slots.holdings import Refusal, Reported


class PluginStream:
    """One stream of one node's device plugin.

    Args:
        node: The node.
        opened_at: When it was opened, by the keeper's clock.

    Attributes:
        heard_at: When a report came last, by the keeper's clock.
        reported_at: The same in seconds since the epoch; 0 before the first report.
        report: The last report, or None before the first.
        pods: Pods by slot in that report, as it was read.
        refused: Lines of it that did not count.
        error: Why the stream has to end, or None.
    """

    def __init__(self, node: str, opened_at: float) -> None:
        self.node = node
        self.heard_at = opened_at
        self.reported_at = 0.0
        self.report: Sequence[Reported] | None = None
        self.pods: Mapping[str, frozenset[tuple[str, str]]] | None = None
        self.refused: frozenset[tuple[Reported, Refusal]] = frozenset()
        self.error: GatewayError | None = None
        self._changed = asyncio.Event()

    def end(self, error: GatewayError) -> None:
        """Ends the stream; the first reason stands."""
        self.error = self.error or error
        self._changed.set()

    def wake(self) -> None:
        """Says that there may be something to tell."""
        self._changed.set()

    async def wait(self, seconds: float) -> None:
        """Waits until there may be something to tell, or for a time."""
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            return
        finally:
            self._changed.clear()
