"""Keeps one resource registered with the kubelet: serve, register, follow, and again."""

import asyncio
import time
from pathlib import Path

import grpc
import structlog

from kubeqpu.deviceplugin.acting import Acting
from kubeqpu.deviceplugin.backoff import Backoff
from kubeqpu.deviceplugin.board import Board, first_of
from kubeqpu.deviceplugin.kubelet_socket import Identity, KubeletSocket
from kubeqpu.deviceplugin.loops import Report
from kubeqpu.deviceplugin.plugin import OPTIONS, PluginServer
from kubeqpu.deviceplugin.telemetry import Telemetry
from kubeqpu.proto.kubelet.v1beta1 import deviceplugin_pb2 as api
from kubeqpu.proto.kubelet.v1beta1 import deviceplugin_pb2_grpc as services

_LOG = structlog.get_logger(__name__)
_VERSION = "v1beta1"
# The kubelet calls back before it answers, and gives that ten seconds.
_REGISTER_SECONDS = 15.0
_STREAM_SECONDS = 5.0
# A kubelet that died has ended its stream by then.
_DEATH_SECONDS = 1.0
_LOOK_SECONDS = 0.25


class Registration:
    """One resource's state machine. It never registers while the kubelet follows its list.

    Args:
        folder: Folder of the kubelet's sockets.
        resource: Extended resource.
        board: The lists.
        acting: Whether this process acts.
        telemetry: Counts what happens.
    """

    def __init__(
        self, folder: Path, resource: str, board: Board, acting: Acting, telemetry: Telemetry
    ) -> None:
        self._folder = folder
        self._resource = resource
        self._board = board
        self._acting = acting
        self._telemetry = telemetry
        self._kubelet = KubeletSocket(folder / "kubelet.sock")
        self._backoff = Backoff(0.02, 1.0)
        self._report = Report(
            "Registration failed", "Registration succeeded again", resource=resource
        )
        self._stopping: set[asyncio.Task[None]] = set()
        self.is_registered = False

    @property
    def is_wanted(self) -> bool:
        """Whether there is something to register, and this process has to."""
        return self._acting.acts and bool(self._board.ledger.entries(self._resource))

    async def run(self) -> None:
        """Keeps it registered until cancelled."""
        try:
            while True:
                await self._until_wanted()
                kubelet = await self._kubelet.appear()
                await self._session(kubelet, time.monotonic())
        finally:
            await asyncio.gather(*self._stopping, return_exceptions=True)

    async def _until_wanted(self) -> None:
        while not self.is_wanted:
            changed = self._acting.changed
            listed = self._board.lists[self._resource]
            await first_of(
                changed.wait_beyond(changed.version),
                listed.wait_beyond(listed.version),
            )

    async def _session(self, kubelet: Identity, noticed: float) -> None:
        """Serves and registers once, and returns when that has to be done again."""
        try:
            # While it is dead, attempts are frequent, and this one costs nothing.
            self._kubelet.check_listening()
        except OSError as error:
            await self._fail(error, kubelet)
            return
        server = PluginServer(
            self._folder, self._resource, self._board, self._acting, self._telemetry
        )
        try:
            await server.start()
            await self._register_unless_replaced(server, kubelet)
        except (grpc.aio.AioRpcError, OSError) as error:
            # TimeoutError is an OSError.
            self._stop(server)
            await self._fail(error, kubelet)
            return
        except BaseException:
            self._stop(server)
            raise
        seconds = time.monotonic() - noticed
        self._backoff.succeed()
        self._report.succeed()
        self._telemetry.succeed("register")
        self._telemetry.count_registration(self._resource, seconds)
        _LOG.info(
            "Resource registered", resource=self._resource, socket=server.socket_name,
            seconds=round(seconds, 4),
        )  # fmt: skip
        self._show(True)
        try:
            await self._follow(server, kubelet)
        finally:
            self._show(False)
            self._stop(server)

    async def _register_unless_replaced(self, server: PluginServer, kubelet: Identity) -> None:
        """Registers; gives up when another kubelet's socket appears, for this one is dead."""
        registering = asyncio.create_task(self._register(server))
        replaced = asyncio.create_task(self._kubelet.appear(kubelet))
        try:
            await asyncio.wait((registering, replaced), return_when=asyncio.FIRST_COMPLETED)
            if not registering.done():
                raise ConnectionResetError("The kubelet ended while it was asked to register.")
            await registering
        finally:
            registering.cancel()
            replaced.cancel()

    async def _register(self, server: PluginServer) -> None:
        request = api.RegisterRequest(
            version=_VERSION,
            endpoint=server.socket_name,
            resource_name=self._resource,
            options=OPTIONS,
        )
        # A channel of its own: one that was refused before would wait before it tries again.
        options = (
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.enable_http_proxy", 0),
            ("grpc.enable_retries", 0),
        )
        target = f"unix:{self._folder / 'kubelet.sock'}"
        async with grpc.aio.insecure_channel(target, options=options) as channel:
            stub = services.RegistrationStub(channel)
            await stub.Register(request, timeout=_REGISTER_SECONDS)
        async with asyncio.timeout(_STREAM_SECONDS):
            await server.stream.opened.wait()

    async def _fail(self, error: Exception, kubelet: Identity) -> None:
        wait_seconds = self._backoff.fail()
        self._telemetry.fail("register", wait_seconds)
        reason = (error.details() or "") if isinstance(error, grpc.aio.AioRpcError) else str(error)
        if isinstance(error, TimeoutError):
            reason = f"The kubelet did not ask for the list within {_STREAM_SECONDS:g} s."
        self._report.fail(reason)
        # Another kubelet's socket ends the wait: what failed was the last one.
        try:
            async with asyncio.timeout(wait_seconds):
                await self._kubelet.appear(kubelet)
        except TimeoutError:
            return
        self._backoff.succeed()

    async def _follow(self, server: PluginServer, kubelet: Identity) -> None:
        """Waits until the kubelet's stream ended, or has to."""
        resumed = asyncio.create_task(self._until_resumed())
        ended = asyncio.create_task(server.stream.ended.wait())
        try:
            while True:
                await asyncio.wait(
                    (resumed, ended), timeout=_LOOK_SECONDS, return_when=asyncio.FIRST_COMPLETED
                )
                if ended.done() or resumed.done():
                    return
                if server.stream.is_stuck():
                    self._telemetry.fail("list", 0)
                    _LOG.warning("List was not received", resource=self._resource)
                    return
                found = self._kubelet.present
                if found is None or found == kubelet:
                    continue
                await asyncio.wait((ended,), timeout=_DEATH_SECONDS)
                if found.inode != kubelet.inode:
                    return
                # Its rights were changed, say: the kubelet lives, for its stream does.
                kubelet = found
        finally:
            resumed.cancel()
            ended.cancel()

    async def _until_resumed(self) -> None:
        """Waits until this process acts again after another did: the kubelet follows nobody."""
        changed = self._acting.changed
        seen = changed.version
        while True:
            was = self._acting.acts
            seen = await changed.wait_beyond(seen)
            if self._acting.acts and not was:
                return

    def _show(self, registered: bool) -> None:
        self.is_registered = registered
        self._telemetry.show_registered(self._resource, registered)

    def _stop(self, server: PluginServer) -> None:
        """Stops a server beside what goes on: what it serves may take a moment to finish."""
        task = asyncio.create_task(server.stop())
        self._stopping.add(task)
        task.add_done_callback(self._stopping.discard)
