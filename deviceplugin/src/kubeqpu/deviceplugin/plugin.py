"""Serves one resource to the kubelet: its list of devices, advice, and what containers get."""

import asyncio
import gc
import os
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import grpc
import structlog

from kubeqpu.deviceplugin.acting import Acting
from kubeqpu.deviceplugin.allocation import allocate_slots
from kubeqpu.deviceplugin.board import Board, first_of
from kubeqpu.deviceplugin.errors import UnknownSlotError
from kubeqpu.deviceplugin.preferences import Candidate, choose_slots
from kubeqpu.deviceplugin.slots import qpu_of
from kubeqpu.deviceplugin.telemetry import Telemetry
from kubeqpu.proto.kubelet.v1beta1 import deviceplugin_pb2 as api
from kubeqpu.proto.kubelet.v1beta1 import deviceplugin_pb2_grpc as services

_LOG = structlog.get_logger(__name__)
# The kubelet writes every list to disk: changes that come together make one.
_GATHER_SECONDS = 0.02
_STOP_SECONDS = 1.0
_STUCK_SECONDS = 10.0
OPTIONS = api.DevicePluginOptions(get_preferred_allocation_available=True)

_Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]


class Stream:
    """The kubelet's stream of one session: whether it was opened, and whether it ended."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()
        self.ended = asyncio.Event()
        self.closing = asyncio.Event()
        self._sending_since: float | None = None

    @contextmanager
    def sending(self) -> Iterator[None]:
        """Measures how long the kubelet takes to receive a list."""
        self._sending_since = time.monotonic()
        try:
            yield
        finally:
            self._sending_since = None

    def is_stuck(self) -> bool:
        """Tells whether the kubelet has stopped to receive."""
        since = self._sending_since
        return since is not None and time.monotonic() - since > _STUCK_SECONDS


class _Service(services.DevicePluginServicer):
    """Answers the kubelet from memory."""

    def __init__(
        self, resource: str, board: Board, acting: Acting, telemetry: Telemetry, stream: Stream
    ) -> None:
        self._resource = resource
        self._board = board
        self._acting = acting
        self._telemetry = telemetry
        self._stream = stream

    async def GetDevicePluginOptions(  # noqa: N802
        self, request: api.Empty, context: _Context
    ) -> api.DevicePluginOptions:
        return OPTIONS

    async def ListAndWatch(  # noqa: N802
        self, request: api.Empty, context: _Context
    ) -> AsyncIterator[api.ListAndWatchResponse]:
        stream = self._stream
        # A call that ends while a list is sent does not come back into this function.
        context.add_done_callback(lambda _: stream.ended.set())  # type: ignore[arg-type]
        stream.opened.set()
        signal, seen = self._board.lists[self._resource], -1
        while True:
            await first_of(signal.wait_beyond(seen), stream.closing.wait())
            if stream.closing.is_set():
                return
            seen = signal.version
            if self._acting.check():
                with stream.sending():
                    yield self._list()
                self._telemetry.count_list(self._resource)
            await asyncio.sleep(_GATHER_SECONDS)

    def _list(self) -> api.ListAndWatchResponse:
        message = api.ListAndWatchResponse()
        add = message.devices.add
        for entry in self._board.ledger.entries(self._resource).values():
            add(id=entry.id, health="Healthy" if entry.verdict.healthy else "Unhealthy")
        return message

    async def GetPreferredAllocation(  # noqa: N802
        self, request: api.PreferredAllocationRequest, context: _Context
    ) -> api.PreferredAllocationResponse:
        await self._board.admissions.begin()
        response = api.PreferredAllocationResponse()
        for asked in request.container_requests:
            available = list(asked.available_device_ids)
            required = list(asked.must_include_device_ids)
            try:
                chosen = choose_slots(available, required, asked.allocation_size, self._describe)
            except Exception:  # an error would fail the pod, and this is only advice
                _LOG.exception("Slots were not chosen", resource=self._resource)
                chosen = required
            response.container_responses.add(device_ids=chosen)
        return response

    def _describe(self, slot: str) -> Candidate:
        entry = self._board.ledger.entries(self._resource).get(slot)
        if entry is None or entry.offered is None:
            return Candidate("", qpu_of(slot), 0.0)
        return Candidate(entry.gateway, entry.qpu, entry.offered.score)

    async def Allocate(  # noqa: N802
        self, request: api.AllocateRequest, context: _Context
    ) -> api.AllocateResponse:
        started = time.perf_counter()
        response = api.AllocateResponse()
        given: list[str] = []
        try:
            for asked in request.container_requests:
                environment = allocate_slots(self._board.ledger, self._resource, asked.devices_ids)
                response.container_responses.add(envs=environment)
                given += asked.devices_ids
        except UnknownSlotError as error:
            self._telemetry.count_allocation(self._resource, "refused")
            _LOG.warning("Slots were not given", resource=self._resource, reason=str(error))
            await context.abort(grpc.StatusCode.NOT_FOUND, str(error))
        self._board.allocate(self._resource, given)
        self._telemetry.count_allocation(self._resource, "given")
        self._telemetry.observe_allocate(time.perf_counter() - started)
        return response

    async def PreStartContainer(  # noqa: N802
        self, request: api.PreStartContainerRequest, context: _Context
    ) -> api.PreStartContainerResponse:
        return api.PreStartContainerResponse()


class PluginServer:
    """Serves a resource on a socket of its own, whose name is never used again.

    Args:
        folder: Folder of the kubelet's sockets.
        resource: Extended resource.
        board: The lists.
        acting: Whether lists are sent.
        telemetry: Counts what is answered.
    """

    def __init__(
        self, folder: Path, resource: str, board: Board, acting: Acting, telemetry: Telemetry
    ) -> None:
        self.stream = Stream()
        short = resource.rpartition("/")[2]
        self.socket_name = f"kubeqpu-{short}-{os.urandom(6).hex()}.sock"
        self._path = folder / self.socket_name
        self._server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
        service = _Service(resource, board, acting, telemetry, self.stream)
        services.add_DevicePluginServicer_to_server(service, self._server)

    async def start(self) -> None:
        """Serves.

        Raises:
            OSError: If the socket cannot be made.
        """
        try:
            self._server.add_insecure_port(f"unix:{self._path}")
            await self._server.start()
        except RuntimeError as error:
            raise OSError(f"Socket {self._path} cannot be served: {error}") from error

    async def stop(self) -> None:
        """Ends the stream, lets calls finish, and removes the socket."""
        self.stream.closing.set()
        await self._server.stop(_STOP_SECONDS)
        self._path.unlink(missing_ok=True)
        # A server is a few hundred kilobytes in a cycle that the collector would find much later.
        del self._server
        gc.collect()
