"""Follows every gateway of the cluster: one stream to each of their pods."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import structlog

from kubeqpu.deviceplugin.backoff import Backoff
from kubeqpu.deviceplugin.board import Board
from kubeqpu.deviceplugin.loops import Report, keep_running
from kubeqpu.deviceplugin.stream import GatewayStream, StreamSettings
from kubeqpu.deviceplugin.telemetry import Telemetry

_LOG = structlog.get_logger(__name__)
_LOOKUP_SECONDS = 20.0


class Gateways:
    """Looks the gateways' addresses up again and again, and keeps a stream to each.

    A stream outlives its address as long as it lasts: DNS may be away, or late.

    Args:
        host: Name under which the gateways' pods are found.
        look_up: Looks their addresses up; raises OSError where nobody knows them.
        settings: What all streams have in common.
        board: Learns of the slots.
        telemetry: Counts failures.
        resolve_seconds: How often addresses are looked up.
        beat: Called after every round.
    """

    def __init__(
        self,
        host: str,
        look_up: Callable[[], Awaitable[frozenset[str]]],
        settings: StreamSettings,
        board: Board,
        telemetry: Telemetry,
        resolve_seconds: float,
        beat: Callable[[], None] = lambda: None,
    ) -> None:
        self._host = host
        self._look_up = look_up
        self._settings = settings
        self._board = board
        self._telemetry = telemetry
        self._resolve_seconds = resolve_seconds
        self._beat = beat
        self._backoff = Backoff(0.2, resolve_seconds)
        self._report = Report("Gateways were not found", "Gateways were found", host=host)
        self._addresses: frozenset[str] = frozenset()
        self._streams: dict[str, GatewayStream] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._resolved = asyncio.Event()

    @property
    def streams(self) -> int:
        """How many streams a gateway answers on."""
        return sum(stream.is_open for stream in list(self._streams.values()))

    @property
    def addresses(self) -> int:
        """How many addresses DNS gave last."""
        return len(self._addresses)

    async def until_tried(self) -> None:
        """Waits until every gateway that was found first has answered, or failed to."""
        await self._resolved.wait()
        for stream in list(self._streams.values()):
            await stream.tried.wait()

    async def run(self) -> None:
        """Follows the gateways until cancelled."""
        try:
            while True:
                await asyncio.sleep(await self._look())
                self._beat()
        finally:
            for task in self._tasks.values():
                task.cancel()
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _look(self) -> float:
        """Looks the addresses up; returns the seconds until the next time."""
        started = time.monotonic()
        try:
            async with asyncio.timeout(_LOOKUP_SECONDS):
                self._addresses = await self._look_up()
        except OSError as error:
            wait_seconds = self._backoff.fail()
            self._telemetry.fail("discover", wait_seconds)
            self._report.fail(str(error) or "Nobody answered.")
            return wait_seconds
        self._backoff.succeed()
        self._report.succeed()
        self._telemetry.succeed("discover")
        for target in sorted(self._addresses - self._streams.keys()):
            self._open(target)
        self._resolved.set()
        return max(0.0, self._resolve_seconds - (time.monotonic() - started))

    def _open(self, target: str) -> None:
        stream = GatewayStream(
            target,
            self._settings,
            self._board,
            self._telemetry,
            is_wanted=lambda: target in self._addresses,
        )
        self._streams[target] = stream
        task = asyncio.create_task(keep_running(f"stream {target}", stream.run, self._telemetry))
        self._tasks[target] = task
        task.add_done_callback(lambda _: self._forget(target))

    def _forget(self, target: str) -> None:
        self._streams.pop(target, None)
        self._tasks.pop(target, None)
