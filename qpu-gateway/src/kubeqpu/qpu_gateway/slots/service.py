"""The RPC of `kubeqpu.v1.Slots`: a device plugin's holders in, its node's slots out."""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
import structlog

from kubeqpu.proto.v1 import slots_pb2, slots_pb2_grpc
from kubeqpu.qpu_gateway.access import Access, Caller
from kubeqpu.qpu_gateway.access.control import AccessControl
from kubeqpu.qpu_gateway.errors import (
    ClusterUnavailableError,
    GatewayError,
    PermissionDeniedError,
    ProviderUnavailableError,
    StreamSilentError,
)
from kubeqpu.qpu_gateway.settings import ClusterSettings
from kubeqpu.qpu_gateway.slots.holdings import Reported
from kubeqpu.qpu_gateway.slots.keeper import SlotKeeper
from kubeqpu.qpu_gateway.slots.streams import PluginStream
from kubeqpu.qpu_gateway.telemetry import Telemetry

_LOG = structlog.get_logger(__name__)

# Changes that come together are sent together.
_TOGETHER_SECONDS = 0.02
# Each node asks the API server so often, and many nodes must not ask together.
CHECK_SECONDS = 120.0
# So long a stream may take to end by itself: its plugin may read nothing any more.
_END_SECONDS = 1.0

Context = grpc.aio.ServicerContext[Any, Any]


class SlotsService(slots_pb2_grpc.SlotsServicer):
    """Serves the device plugins.

    Args:
        cluster: The cluster's section of the gateway's settings.
        keeper: Keeps the slots.
        telemetry: Told what happens.
        access: Knows callers.
        check_seconds: How often to look at a token again that is in use.
    """

    def __init__(
        self,
        cluster: ClusterSettings,
        keeper: SlotKeeper,
        telemetry: Telemetry,
        access: Access,
        check_seconds: float = CHECK_SECONDS,
    ) -> None:
        self._check_seconds = check_seconds
        namespace, _, name = (cluster.device_plugin or "").partition("/")
        self._account = f"system:serviceaccount:{namespace}:{name}"
        self._cluster = cluster
        self._keeper = keeper
        self._telemetry = telemetry
        self._access = AccessControl(access, telemetry)
        self._open: set[PluginStream] = set()
        self._closed = False

    def close(self) -> None:
        """Ends all streams, and those to come; their plugins are told to come back."""
        self._closed = True
        for stream in self._open:
            stream.end(_stopping())

    async def Sync(  # noqa: N802
        self, request_iterator: AsyncIterator[slots_pb2.SyncRequest], context: Context
    ) -> AsyncIterator[slots_pb2.SyncResponse]:
        """Takes reports and sends the node's slots, at once when they change.

        Ends when another stream of the node begins, when no report comes for a while, or when the
        plugin's token no longer counts.
        """
        metadata = tuple(context.invocation_metadata() or ())
        node = self._find_node(await self._access.identify(metadata))
        if self._closed:
            raise _stopping()
        stream = self._keeper.connect(node)
        self._open.add(stream)
        own = asyncio.current_task()
        assert own is not None
        tasks = [
            asyncio.create_task(self._read(stream, request_iterator)),
            asyncio.create_task(self._watch(stream, own)),
            asyncio.create_task(self._check(stream, metadata)),
        ]
        try:
            async for response in self._respond(stream, tasks[0]):
                yield response
        finally:
            self._open.discard(stream)
            self._keeper.disconnect(stream)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _respond(
        self, stream: PluginStream, reading: asyncio.Task[None]
    ) -> AsyncIterator[slots_pb2.SyncResponse]:
        sent: bytes | None = None
        sent_at = 0.0
        keepalive = self._cluster.slot_silence_seconds / 3
        reading.add_done_callback(lambda _: stream.wake())
        while True:
            if stream.error is not None:
                raise stream.error
            if reading.done():
                # The plugin has nothing more to say, or it said something that it may not.
                reading.result()
                return
            # Not before its report: until then the plugin is about to say what it holds.
            slots = None if stream.report is None else self._keeper.board.list_slots(stream.node)
            now = time.monotonic()
            if slots is not None:
                content = _content(slots)
                if content != sent or now - sent_at >= keepalive:
                    sent, sent_at = content, now
                    yield slots_pb2.SyncResponse(
                        gateway=self._cluster.gateway,
                        endpoint=self._cluster.endpoint,
                        slots=slots,
                    )
            await stream.wait(max(0.0, sent_at + keepalive - now) if sent is not None else 0.1)
            await asyncio.sleep(_TOGETHER_SECONDS)

    async def _read(
        self, stream: PluginStream, requests: AsyncIterator[slots_pb2.SyncRequest]
    ) -> None:
        async for request in requests:
            if request.node != stream.node:
                self._telemetry.count_refused_report("node")
                raise PermissionDeniedError(
                    f"The report is for node {request.node[:253]!r}, but the device plugin's token "
                    f"is for node {stream.node}; report for that one only."
                )
            self._keeper.take_report(
                stream,
                [
                    Reported(line.slot, line.namespace, line.pod, line.container)
                    for line in request.holders
                ],
            )

    async def _watch(self, stream: PluginStream, serving: asyncio.Task[Any]) -> None:
        """Ends a silent stream, even if its plugin does not take what is sent to it."""
        longest = self._cluster.slot_silence_seconds
        while stream.error is None:
            left = stream.heard_at + longest - time.monotonic()
            if left <= 0:
                stream.end(
                    StreamSilentError(
                        f"Node {stream.node}'s device plugin reported nothing for {longest:g} s; "
                        "it should report at least every third of that. Connect again."
                    )
                )
                self._keeper.disconnect(stream)
                break
            await asyncio.sleep(min(left, _END_SECONDS))
        await asyncio.sleep(_END_SECONDS)
        serving.cancel()

    async def _check(self, stream: PluginStream, metadata: tuple[Any, ...]) -> None:
        """Ends a stream whose token no longer counts."""
        while True:
            jitter = random.uniform(0.8, 1.2)  # noqa: S311 - no secret
            await asyncio.sleep(self._check_seconds * jitter)
            try:
                self._find_node(await self._access.identify(metadata))
            except ClusterUnavailableError:
                continue
            except GatewayError as error:
                stream.end(error)
                return
            except Exception:
                _LOG.exception("Device plugin not checked", node=stream.node)

    def _find_node(self, caller: Caller) -> str:
        """Finds the node for which a caller may speak.

        Raises:
            PermissionDeniedError: If it is not the device plugin, or its token tells no node.
        """
        if caller.user != self._account:
            self._telemetry.count_refused_report("account")
            raise PermissionDeniedError(
                f"{caller.user} is not the device plugin, whose account is {self._account}; only "
                "that one may report who holds slots. Set `cluster.device_plugin` if it has "
                "another."
            )
        if caller.pod is None or not caller.pod.node:
            self._telemetry.count_refused_report("account")
            raise PermissionDeniedError(
                "The device plugin's token tells no node; use the projected token of its own pod, "
                "on Kubernetes 1.32 or newer."
            )
        return caller.pod.node


def _content(slots: list[slots_pb2.Slot]) -> bytes:
    """What of a list is worth a message of its own: a score can wait for the next."""
    bare = slots_pb2.SyncResponse(slots=slots)
    for slot in bare.slots:
        slot.score = 0.0
    return bare.SerializeToString(deterministic=True)


def _stopping() -> ProviderUnavailableError:
    return ProviderUnavailableError("The gateway is stopping; connect again in a moment.")
