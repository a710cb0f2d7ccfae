"""Keeps one stream to one gateway pod: holders go up, slots come down."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import grpc
import structlog

from kubeqpu.deviceplugin.backoff import Backoff
from kubeqpu.deviceplugin.board import Board
from kubeqpu.deviceplugin.credentials import CredentialFiles
from kubeqpu.deviceplugin.errors import CredentialsError, ProtocolError
from kubeqpu.deviceplugin.loops import Report
from kubeqpu.deviceplugin.slots import Offer, Slot, check_offer
from kubeqpu.deviceplugin.telemetry import Telemetry
from kubeqpu.proto.v1 import slots_pb2, slots_pb2_grpc

_LOG = structlog.get_logger(__name__)
# A list as long as the kubelet takes is about three times as long here.
_MAX_MESSAGE_BYTES = 16 * 2**20
# A stream that lasted so long starts its successor without much delay.
_STEADY_SECONDS = 10.0
# A gateway keeps one stream for each node. A plugin whose stream gave way to another's waits until
# that one acts, which takes less: else they would take turns.
_GIVE_WAY_SECONDS = 3.0


@dataclass(frozen=True)
class StreamSettings:
    """What all streams have in common.

    Attributes:
        node: Name of this node.
        tls_name: Name that certificates are checked for: addresses are not in them.
        files: Token and authority.
        keepalive_seconds: How often the holders are sent at least.
        silence_seconds: After how long without a word the stream counts as lost.
        may_connect: Returns once a stream may be opened.
        gives_way: Whether this process has to leave the gateway to a newer one.
    """

    node: str
    tls_name: str
    files: CredentialFiles
    keepalive_seconds: float
    silence_seconds: float
    may_connect: Callable[[], Awaitable[None]]
    gives_way: Callable[[], bool]


class GatewayStream:
    """A stream to an address, opened again whenever it ends.

    Args:
        target: gRPC target.
        settings: What all streams have in common.
        board: Learns of the slots, and tells of holders.
        telemetry: Counts failures.
        is_wanted: Whether there may still be a gateway at the address.
    """

    def __init__(
        self,
        target: str,
        settings: StreamSettings,
        board: Board,
        telemetry: Telemetry,
        is_wanted: Callable[[], bool],
    ) -> None:
        self._target = target
        self._settings = settings
        self._board = board
        self._telemetry = telemetry
        self._is_wanted = is_wanted
        self._backoff = Backoff(0.1, 5.0)
        self._report = Report("Gateway was lost", "Gateway was found", address=target)
        self.gateway = ""
        self.tried = asyncio.Event()

    @property
    def is_open(self) -> bool:
        """Whether a gateway answers on it."""
        return bool(self.gateway)

    async def run(self) -> None:
        """Follows the address until it is cancelled, or no longer wanted and lost."""
        while True:
            await self._settings.may_connect()
            started = time.monotonic()
            shortest_seconds = 0.0
            try:
                await self._follow()
                reason = "The gateway ended the stream."
            except CredentialsError as error:
                self._telemetry.fail("credentials", self._settings.keepalive_seconds)
                reason = str(error)
            except ProtocolError as error:
                reason = str(error)
            except TimeoutError:
                reason = f"It was silent for {self._settings.silence_seconds:g} s."
            except grpc.aio.AioRpcError as error:
                reason = f"{error.code().name}: {error.details()}"
                if error.code() is grpc.StatusCode.ABORTED and self._settings.gives_way():
                    shortest_seconds = _GIVE_WAY_SECONDS
            self.tried.set()
            if not self._is_wanted():
                return
            if time.monotonic() - started > _STEADY_SECONDS:
                self._backoff.succeed()
            wait_seconds = max(self._backoff.fail(), shortest_seconds)
            self._telemetry.fail("connect", wait_seconds)
            self._report.fail(reason)
            await asyncio.sleep(wait_seconds)

    async def _follow(self) -> None:
        """Opens the stream once and reads it to its end."""
        settings = self._settings
        metadata = (("authorization", f"Bearer {settings.files.read_token()}"),)
        options = (
            ("grpc.ssl_target_name_override", settings.tls_name),
            ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.enable_http_proxy", 0),
            # gRPC's own attempts follow one another without a pause, in memory that only the end of
            # the call gives back. `run` makes them.
            ("grpc.enable_retries", 0),
        )
        authority = settings.files.read_authority()
        async with grpc.aio.secure_channel(self._target, authority, options=options) as channel:
            stub = slots_pb2_grpc.SlotsStub(channel)
            call = stub.Sync(self._tell(), metadata=metadata)
            try:
                while (answer := await self._read(call)) is not None:
                    self._hear(answer)
            finally:
                call.cancel()
                self._lose()

    async def _read(
        self, call: "grpc.aio.StreamStreamCall[slots_pb2.SyncRequest, slots_pb2.SyncResponse]"
    ) -> slots_pb2.SyncResponse | None:
        async with asyncio.timeout(self._settings.silence_seconds):
            answer = await call.read()
        return answer if isinstance(answer, slots_pb2.SyncResponse) else None

    async def _tell(self) -> AsyncIterator[slots_pb2.SyncRequest]:
        """Sends the holders whenever they change, and from time to time."""
        signal = self._board.holders
        while True:
            seen = signal.version
            yield slots_pb2.SyncRequest(
                node=self._settings.node,
                holders=[
                    slots_pb2.Holder(
                        slot=holding.slot,
                        namespace=holding.namespace,
                        pod=holding.pod,
                        container=holding.container,
                    )
                    for holding in self._board.holdings.holders()
                ],
            )
            try:
                async with asyncio.timeout(self._settings.keepalive_seconds):
                    await signal.wait_beyond(seen)
            except TimeoutError:
                pass

    def _hear(self, answer: slots_pb2.SyncResponse) -> None:
        offer = read_offer(answer)
        fault = check_offer(offer)
        if fault is not None:
            raise ProtocolError(fault)
        if self.gateway != offer.gateway:
            self._lose()
            self._board.join(offer.gateway)
            self.gateway = offer.gateway
            _LOG.info("Gateway answered", gateway=offer.gateway, address=self._target,
                      slots=len(offer.slots))  # fmt: skip
            self._report.succeed()
            self._telemetry.succeed("connect")
            self._telemetry.succeed("credentials")
        self._board.hear(offer)
        self.tried.set()

    def _lose(self) -> None:
        if self.gateway:
            gateway, self.gateway = self.gateway, ""
            self._board.leave(gateway)


def read_offer(answer: slots_pb2.SyncResponse) -> Offer:
    """Reads a gateway's answer as plain data."""
    return Offer(
        gateway=answer.gateway,
        endpoint=answer.endpoint,
        slots=tuple(
            # By position: there may be ten thousand.
            Slot(
                slot.id,
                slot.qpu,
                slot.resource_name,
                slot.healthy,
                slot.reason,
                slot.generation,
                slot.score,
            )
            for slot in answer.slots
        ),
    )
