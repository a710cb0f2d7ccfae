"""How the kubelet's stand-in follows one device plugin."""

import asyncio
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import grpc

from kubeqpu.proto.kubelet.v1beta1 import deviceplugin_pb2 as api
from kubeqpu.proto.kubelet.v1beta1 import deviceplugin_pb2_grpc as services
from tests.support.kubelet_faults import Faults

_MAX_RECEIVED_BYTES = 4 * 2**20


class Endpoint:
    """A device plugin's socket, and the stream of its lists.

    Args:
        path: The socket.
        resource: Extended resource.
        on_list: Called with every list that came, and the devices before it.
        on_end: Called when the stream ended.
        faults: What goes wrong.

    Attributes:
        devices: Whether each device is healthy, by ID.
        lists: When each list came, in monotonic seconds, and how many devices it had.
    """

    def __init__(
        self,
        path: Path,
        resource: str,
        on_list: "Callable[[Endpoint, dict[str, bool]], None]",
        on_end: "Callable[[Endpoint], None]",
        faults: Faults,
    ) -> None:
        self.path = path
        self.socket = path.name
        self.resource = resource
        self.devices: dict[str, bool] = {}
        self.lists: list[tuple[float, int]] = []
        self.options = api.DevicePluginOptions()
        self.error = ""
        self._on_list = on_list
        self._on_end = on_end
        self._faults = faults
        self._task: asyncio.Task[None] | None = None
        self._channel = grpc.aio.insecure_channel(
            f"unix:{path}",
            options=(
                ("grpc.max_receive_message_length", _MAX_RECEIVED_BYTES),
                ("grpc.use_local_subchannel_pool", 1),
            ),
        )
        self._stub = services.DevicePluginStub(self._channel)

    async def connect(self) -> None:
        """Dials back: Register waits for that."""
        self.options = await self._stub.GetDevicePluginOptions(api.Empty(), timeout=10)

    def follow(self) -> None:
        """Asks for the lists."""
        if not self._faults.ignore_plugin:
            self._task = asyncio.create_task(self._follow())

    @property
    def is_alive(self) -> bool:
        """Whether the stream lasts."""
        return self._task is not None and not self._task.done()

    async def _follow(self) -> None:
        try:
            call = self._stub.ListAndWatch(api.Empty())
            while self._faults.hang_stream:
                await call.initial_metadata()
                await asyncio.sleep(0.05)
            async for answer in call:
                before = self.devices
                self.devices = {found.id: found.health == "Healthy" for found in answer.devices}
                assert all(found.health in {"Healthy", "Unhealthy"} for found in answer.devices)
                assert all(len(found.id) <= 63 for found in answer.devices)
                self.lists.append((time.monotonic(), len(self.devices)))
                self._on_list(self, before)
        except grpc.aio.AioRpcError as error:
            self.error = f"{error.code().name}: {error.details()}"
        finally:
            await self._channel.close()
            self._on_end(self)

    async def prefer(self, available: Sequence[str], count: int) -> list[str]:
        """Asks which devices to take, if the plugin has advice."""
        if not self.options.get_preferred_allocation_available:
            return []
        request = api.PreferredAllocationRequest()
        request.container_requests.add(available_device_ids=available, allocation_size=count)
        response = await self._stub.GetPreferredAllocation(request)
        (preferred,) = response.container_responses
        return list(preferred.device_ids)

    async def allocate(self, devices: Sequence[str]) -> dict[str, str]:
        """Asks what a container gets."""
        request = api.AllocateRequest()
        request.container_requests.add(devices_ids=devices)
        response = await self._stub.Allocate(request)
        (answer,) = response.container_responses
        told = {found.name for found, _ in answer.ListFields()}
        assert told == {"envs"}, told
        return dict(answer.envs)

    def disconnect(self) -> None:
        """Drops the connection, as a kubelet does."""
        if self._task is not None:
            self._task.cancel()

    def abandon(self) -> None:
        """Drops it without a word to the kubelet, which is dead."""
        self._on_end = lambda _: None
        self.disconnect()
