"""A kubelet as a device plugin sees it, on real sockets, and nastier than a real one.

It keeps to what was seen of kubelet 1.36: it removes every socket when it starts and leaves its
own when it dies, calls back before it answers Register, receives at most 4 MiB, lets the end of an
old plugin disconnect a new one of the same resource, crashes when an ID disappears that it is
giving away, lists no holders for a second after its start, and limits the rate of Lists.
"""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc

from kubeqpu.proto.kubelet.v1 import podresources_pb2 as resources_api
from kubeqpu.proto.kubelet.v1 import podresources_pb2_grpc as resources_services
from kubeqpu.proto.kubelet.v1beta1 import deviceplugin_pb2 as api
from kubeqpu.proto.kubelet.v1beta1 import deviceplugin_pb2_grpc as services
from tests.support.kubelet_endpoint import Endpoint
from tests.support.kubelet_faults import Faults, TokenBucket, until_off
from tests.support.kubelet_records import AdmissionFailedError, Pod, Record, Registered

__all__ = ["AdmissionFailedError", "Kubelet", "Pod", "Record", "Registered", "running_kubelet"]


class Kubelet:
    """The kubelet of one node. Pods and what was given away survive its restarts.

    Args:
        root: Folder below which its sockets are, in the order of a real node.
        faults: What goes wrong; a test changes it as it goes.
    """

    def __init__(self, root: Path, faults: Faults | None = None) -> None:
        self.plugin_folder = root / "device-plugins"
        self.pod_resources_socket = root / "pod-resources" / "kubelet.sock"
        self.plugin_folder.mkdir(parents=True, exist_ok=True)
        self.pod_resources_socket.parent.mkdir(parents=True, exist_ok=True)
        self.faults = faults or Faults()
        self.record = Record()
        self.pods: dict[str, Pod] = {}
        self.endpoints: dict[str, Endpoint] = {}
        self.following: list[Endpoint] = []
        self.started_at = 0.0
        self.appeared_at = 0.0
        self._bucket = TokenBucket(burst=10, per_second=5)
        self._servers: list[grpc.aio.Server] = []
        self._allocating: dict[str, set[str]] = {}
        self._numbers = itertools.count()

    # Life and death

    async def start(self) -> None:
        """Starts: removes all sockets, then makes its own."""
        for path in self.plugin_folder.iterdir():
            if path.is_socket():
                path.unlink(missing_ok=True)
        self.started_at = time.monotonic()
        self._bucket = TokenBucket(burst=10, per_second=5)
        lister = grpc.aio.server()
        resources_services.add_PodResourcesListerServicer_to_server(_Lister(self), lister)
        await self._bind(lister, self.pod_resources_socket)
        registry = grpc.aio.server()
        services.add_RegistrationServicer_to_server(_Registry(self), registry)
        await self._bind(registry, self.plugin_folder / "kubelet.sock")
        self._servers = [lister, registry]

    async def _bind(self, server: grpc.aio.Server, path: Path) -> None:
        """Binds under another name first: a socket appears when it already listens."""
        hidden = path.with_name(f".{path.name}.{next(self._numbers)}")
        server.add_insecure_port(f"unix:{hidden}")
        await server.start()
        self.appeared_at = time.monotonic()
        hidden.rename(path)

    async def kill(self) -> None:
        """Dies at once: streams break, its sockets stay on disk."""
        for endpoint in self.following:
            endpoint.abandon()
        self.following = []
        self.endpoints = {}
        servers, self._servers = self._servers, []
        await asyncio.gather(*(server.stop(None) for server in servers))

    async def restart(self, pause_seconds: float = 0.0) -> None:
        """Dies and starts again."""
        await self.kill()
        await asyncio.sleep(pause_seconds)
        await self.start()

    # Device plugins

    async def register(self, request: api.RegisterRequest) -> None:
        """Follows a plugin, as Register asks."""
        alive = tuple(
            found.socket for found in self.following
            if found.resource == request.resource_name and found.is_alive
        )  # fmt: skip
        found = Registered(time.monotonic(), request.resource_name, request.endpoint, False, alive)
        self.record.registrations.append(found)
        if self.faults.refuse_register > 0:
            self.faults.refuse_register -= 1
            raise AdmissionFailedError("the plugin is not wanted")
        await until_off(lambda: self.faults.hang_register)
        endpoint = Endpoint(
            self.plugin_folder / request.endpoint, request.resource_name, self._take_list,
            self._end, self.faults,
        )  # fmt: skip
        try:
            await endpoint.connect()
        except grpc.aio.AioRpcError as error:
            raise AdmissionFailedError(f"failed to dial the plugin: {error.details()}") from error
        self.endpoints[request.resource_name] = endpoint
        self.following.append(endpoint)
        endpoint.follow()
        found.accepted = True

    def _take_list(self, endpoint: Endpoint, before: dict[str, bool]) -> None:
        """Judges a list that came, of an old plugin or a new one."""
        current = self.endpoints.get(endpoint.resource)
        if current is not None and current is not endpoint:
            before = current.devices
            current.devices = dict(endpoint.devices)
        gone = before.keys() - endpoint.devices.keys()
        if gone:
            self.record.shrunk.append(f"{endpoint.resource} lost {sorted(gone)}")
        if gone & self._allocating.get(endpoint.resource, set()):
            self.record.crashes.append(f"{sorted(gone)} disappeared while being given away")

    def _end(self, endpoint: Endpoint) -> None:
        """A stream ended: all its devices are unhealthy, and a newer plugin's with them."""
        if endpoint in self.following:
            self.following.remove(endpoint)
        current = self.endpoints.get(endpoint.resource)
        if current is None:
            return
        if current is not endpoint and self.faults.old_disconnects_new:
            current.disconnect()
        current.devices = dict.fromkeys(current.devices, False)

    # What a scheduler and a user see

    def capacity(self, resource: str) -> int:
        """How many devices there are."""
        endpoint = self.endpoints.get(resource)
        return len(endpoint.devices) if endpoint else 0

    def healthy(self, resource: str) -> set[str]:
        """Which of them are healthy: their number is what the node has allocatable."""
        endpoint = self.endpoints.get(resource)
        return {name for name, health in endpoint.devices.items() if health} if endpoint else set()

    def free(self, resource: str) -> list[str]:
        """Which healthy ones no pod has."""
        used = {name for pod in self.pods.values() for name in pod.devices.get(resource, ())}
        return sorted(self.healthy(resource) - used - self._allocating.get(resource, set()))

    async def admit(
        self, name: str, resource: str, count: int = 1, namespace: str = "tenant"
    ) -> Pod:
        """Admits a pod with one container.

        Raises:
            AdmissionFailedError: If its devices cannot be given; a real pod is then Failed.
        """
        available = self.free(resource)
        if len(available) < count:
            raise AdmissionFailedError("Allocate failed due to no healthy devices present")
        endpoint = self.endpoints[resource]
        preferred = await endpoint.prefer(available, count)
        rest = [found for found in available if found not in preferred]
        chosen = [*(found for found in preferred if found in available), *rest][:count]
        allocating = self._allocating.setdefault(resource, set())
        allocating.update(chosen)
        try:
            env = await endpoint.allocate(chosen)
            # The window in which a removal crashes a real kubelet.
            await asyncio.sleep(self.faults.allocate_seconds)
        except grpc.aio.AioRpcError as error:
            raise AdmissionFailedError(
                f"Allocate failed due to rpc error: code = {error.code().name} "
                f"desc = {error.details()}, which is unexpected"
            ) from error
        finally:
            allocating.difference_update(chosen)
        pod = Pod(name, namespace, {resource: tuple(chosen)}, env)
        self.pods[f"{namespace}/{name}"] = pod
        return pod

    def end(self, pod: Pod) -> None:
        """Ends a pod: its devices are free."""
        del self.pods[f"{pod.namespace}/{pod.name}"]


class _Registry(services.RegistrationServicer):
    def __init__(self, kubelet: Kubelet) -> None:
        self._kubelet = kubelet

    async def Register(  # noqa: N802
        self,
        request: api.RegisterRequest,
        context: grpc.aio.ServicerContext[api.RegisterRequest, api.Empty],
    ) -> api.Empty:
        try:
            await self._kubelet.register(request)
        except AdmissionFailedError as error:
            await context.abort(grpc.StatusCode.UNKNOWN, str(error))
        return api.Empty()


class _Lister(resources_services.PodResourcesListerServicer):
    def __init__(self, kubelet: Kubelet) -> None:
        self._kubelet = kubelet

    async def _admit(self, context: grpc.aio.ServicerContext) -> None:  # type: ignore[type-arg]
        faults = self._kubelet.faults
        if not self._kubelet._bucket.take():
            self._kubelet.record.lists_refused += 1
            await context.abort(
                grpc.StatusCode.RESOURCE_EXHAUSTED, "rejected by rate limit: too many requests"
            )
        await until_off(lambda: faults.hang_lists)
        if faults.list_error is not None:
            await context.abort(faults.list_error, "the kubelet is broken")

    async def List(  # noqa: N802
        self,
        request: resources_api.ListPodResourcesRequest,
        context: grpc.aio.ServicerContext,  # type: ignore[type-arg]
    ) -> resources_api.ListPodResourcesResponse:
        await self._admit(context)
        kubelet = self._kubelet
        amid = any(kubelet._allocating.values())
        await asyncio.sleep(kubelet.faults.list_seconds)
        if amid or any(kubelet._allocating.values()):
            # A real one takes those devices for free now, and may give them to another pod, too.
            kubelet.record.lists_amid_admissions += 1
        kubelet.record.lists_answered.append(time.monotonic())
        response = resources_api.ListPodResourcesResponse()
        if time.monotonic() - kubelet.started_at < kubelet.faults.empty_seconds:
            return response
        for pod in (*kubelet.faults.finished_pods, *kubelet.pods.values()):
            listed = response.pod_resources.add(name=pod.name, namespace=pod.namespace)
            container = listed.containers.add(name="main")
            for resource, devices in pod.devices.items():
                container.devices.add(resource_name=resource, device_ids=devices)
        return response

    async def GetAllocatableResources(  # noqa: N802
        self,
        request: resources_api.AllocatableResourcesRequest,
        context: grpc.aio.ServicerContext,  # type: ignore[type-arg]
    ) -> resources_api.AllocatableResourcesResponse:
        await self._admit(context)
        response = resources_api.AllocatableResourcesResponse()
        for resource in self._kubelet.endpoints:
            devices = sorted(self._kubelet.healthy(resource))
            response.devices.add(resource_name=resource, device_ids=devices)
        return response

    async def Get(  # noqa: N802
        self,
        request: resources_api.GetPodResourcesRequest,
        context: grpc.aio.ServicerContext,  # type: ignore[type-arg]
    ) -> resources_api.GetPodResourcesResponse:
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "the feature is off")


@asynccontextmanager
async def running_kubelet(root: Path, faults: Faults | None = None) -> AsyncIterator[Kubelet]:
    """A kubelet that runs while the context is open."""
    kubelet = Kubelet(root, faults)
    await kubelet.start()
    try:
        yield kubelet
    finally:
        await kubelet.kill()
