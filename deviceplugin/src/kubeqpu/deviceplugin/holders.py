"""Asks the kubelet who holds which slot: at its limited rate, and right after an Allocate."""

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import structlog

from kubeqpu.common.names import RESOURCES
from kubeqpu.deviceplugin.backoff import Backoff
from kubeqpu.deviceplugin.board import Board
from kubeqpu.deviceplugin.holdings import TRUST_SECONDS, Holding
from kubeqpu.deviceplugin.kubelet_socket import Identity, identify
from kubeqpu.deviceplugin.loops import Report
from kubeqpu.deviceplugin.telemetry import Telemetry
from kubeqpu.proto.kubelet.v1 import podresources_pb2 as api
from kubeqpu.proto.kubelet.v1 import podresources_pb2_grpc as services

_LOG = structlog.get_logger(__name__)
# Five a second at most; a kubelet shares out a limited rate among all that ask.
_SHORTEST_SECONDS = 0.2
_HELD_SECONDS = 0.5
_IDLE_SECONDS = 1.0
# The kubelet shows a holder within 20 ms after an Allocate.
_SHOWN_SECONDS = 0.03
_LIST_SECONDS = 2.0
_MAX_MESSAGE_BYTES = 64 * 2**20
_TRANSIENT = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
)
_OPTIONS = (
    ("grpc.initial_reconnect_backoff_ms", 100),
    # This is also how long an attempt may take: a busy kubelet is slow to answer.
    ("grpc.min_reconnect_backoff_ms", 2_000),
    ("grpc.max_reconnect_backoff_ms", 500),
    ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
    # As for gateways: we try again ourselves.
    ("grpc.enable_retries", 0),
)


class Holders:
    """Follows the kubelet's Lists.

    Args:
        socket: The kubelet's socket for pod resources.
        board: Learns of the holders, and tells of Allocates.
        telemetry: Counts failures.
        trust_seconds: How long a kubelet may take after its start until its List is complete.
        beat: Called after every round.
        is_superseded: Whether another process acts, whose admissions this one does not see.
    """

    def __init__(
        self,
        socket: Path,
        board: Board,
        telemetry: Telemetry,
        trust_seconds: float = TRUST_SECONDS,
        beat: Callable[[], None] = lambda: None,
        is_superseded: Callable[[], bool] = lambda: False,
    ) -> None:
        self._socket = socket
        self._board = board
        self._telemetry = telemetry
        self._trust_seconds = trust_seconds
        self._beat = beat
        self._is_superseded = is_superseded
        self._backoff = Backoff(0.1, 2.0)
        self._report = Report("Holders were not listed", "Holders are listed again")
        self._identity: Identity | None = None
        self.listed = asyncio.Event()
        self.known = asyncio.Event()

    async def run(self) -> None:
        """Asks again and again until cancelled."""
        while True:
            async with grpc.aio.insecure_channel(
                f"unix:{self._socket}", options=_OPTIONS
            ) as channel:
                await self._ask(services.PodResourcesListerStub(channel))

    async def _ask(self, stub: "services.PodResourcesListerAsyncStub") -> None:
        """Asks over one channel, until another kubelet's socket is there."""
        while self._is_same_kubelet():
            if self._is_superseded():
                self._beat()
                await asyncio.sleep(_IDLE_SECONDS)
                continue
            try:
                async with self._board.admissions.listing():
                    seen, asked_at = self._board.allocations.version, time.monotonic()
                    response = await stub.List(api.ListPodResourcesRequest(), timeout=_LIST_SECONDS)
                if not self.listed.is_set():
                    await self._inherit(stub)
            except grpc.aio.AioRpcError as error:
                await self._fail(error)
                continue
            self._telemetry.observe_pod_resources(time.monotonic() - asked_at)
            self._telemetry.succeed("pod_resources")
            self._backoff.succeed()
            self._report.succeed()
            self._board.observe(_read_holdings(response), asked_at)
            self.listed.set()
            self._settle()
            self._beat()
            await self._wait(asked_at, seen)

    def _is_same_kubelet(self) -> bool:
        found = identify(self._socket)
        if found is not None and found != self._identity:
            self._identity = found
            self._board.holdings.distrust()
            return False
        return True

    def _settle(self) -> None:
        """Notes that gateways may be told, once the kubelet has had time to find its pods."""
        if self.known.is_set() or self._identity is None:
            return
        age_seconds = time.time() - self._identity.changed_at_ns / 1e9
        # A clock that was set back makes it negative: then its good Lists count.
        if age_seconds >= self._trust_seconds or self._board.holdings.is_trusted(time.monotonic()):
            self.known.set()

    async def _inherit(self, stub: "services.PodResourcesListerAsyncStub") -> None:
        """Takes over what the kubelet lists of a device plugin before this one."""
        request = api.AllocatableResourcesRequest()
        try:
            response = await stub.GetAllocatableResources(request, timeout=_LIST_SECONDS)
        except grpc.aio.AioRpcError as error:
            if error.code() in _TRANSIENT:
                raise
            _LOG.warning(
                "Earlier list was not read", reason=f"{error.code().name}: {error.details()}"
            )
            return
        listed: dict[str, set[str]] = {}
        for devices in response.devices:
            listed.setdefault(devices.resource_name, set()).update(devices.device_ids)
        self._board.inherit(listed)

    async def _fail(self, error: grpc.aio.AioRpcError) -> None:
        # Somebody else asks too often: that says nothing about the kubelet's knowledge.
        if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
            self._board.holdings.distrust()
        wait_seconds = self._backoff.fail()
        self._telemetry.fail("pod_resources", wait_seconds)
        self._report.fail(f"{error.code().name}: {error.details()}")
        self._beat()
        await asyncio.sleep(wait_seconds)

    async def _wait(self, started: float, seen: int) -> None:
        """Waits until the next List is due: earlier after an Allocate."""
        holdings = self._board.holdings
        interval_seconds = _HELD_SECONDS if holdings.holders() else _IDLE_SECONDS
        if holdings.is_unsettled() or not self.known.is_set():
            interval_seconds = _SHORTEST_SECONDS
        try:
            async with asyncio.timeout_at(_loop_time(started + interval_seconds)):
                await self._board.allocations.wait_beyond(seen)
        except TimeoutError:
            return
        earliest = started + _SHORTEST_SECONDS
        await asyncio.sleep(max(_SHOWN_SECONDS, earliest - time.monotonic()))


def _loop_time(monotonic: float) -> float:
    return asyncio.get_running_loop().time() + monotonic - time.monotonic()


def _read_holdings(response: api.ListPodResourcesResponse) -> Iterator[Holding]:
    for pod in response.pod_resources:
        for container in pod.containers:
            for devices in container.devices:
                if devices.resource_name in RESOURCES:
                    for slot in devices.device_ids:
                        yield Holding(
                            slot, devices.resource_name, pod.namespace, pod.name, container.name
                        )
