"""A gateway that gives slots to pods, its API server, and device plugins that speak to it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import grpc
import trustme

from kubeqpu.proto.v1 import gateway_pb2_grpc, slots_pb2, slots_pb2_grpc
from tests.support.object_server import ObjectServer
from tests.support.review_server import ReviewServer

if TYPE_CHECKING:
    from kubernetes.aio import client

ACCOUNT = ("kubeqpu-plugin", "device-plugin")
NODES = ("node-1", "node-2")

Line = tuple[str, str]


def cluster_section(**changes: object) -> dict[str, object]:
    """Gives the cluster's section of a gateway's settings."""
    return {
        "gateway": "default",
        "namespace": "quantum",
        "endpoint": "gateway.quantum.svc:7070",
        "device_plugin": "/".join(ACCOUNT),
        **changes,
    }


class ClusterServer:
    """An API server that knows reviews, QPUs and nodes."""

    def __init__(self) -> None:
        self.reviews = ReviewServer()
        self.objects = ObjectServer()
        for name in NODES:
            self.put_node(name)

    def put_node(
        self, name: str, labels: dict[str, str] | None = None, taints: Iterable[str] = ()
    ) -> None:
        """Makes or changes a Node."""
        spec = {"taints": [{"key": key, "effect": "NoExecute"} for key in taints]}
        metadata = {"name": name, "labels": labels or {}}
        self.objects.put("nodes", {"kind": "Node", "metadata": metadata, "spec": spec})

    def issue_plugin_token(self, node: str) -> str:
        """Makes a token of the device plugin's pod on a node."""
        namespace, name = ACCOUNT
        return self.reviews.issue_token(namespace, name, pod=f"plugin-{node}", node=node)

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[client.ApiClient]:
        """Serves on loopback and gives a client."""
        async with self.objects.serve(self.reviews.add_routes) as api_client:
            yield api_client


@dataclass
class Authority:
    """Signs the gateway's certificate.

    Attributes:
        folder: Where its files are.
    """

    folder: Path
    trust: grpc.ChannelCredentials = field(init=False)

    def __post_init__(self) -> None:
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(self.folder / "ca.crt"))
        issued = authority.issue_cert("localhost")
        issued.private_key_pem.write_to_path(str(self.folder / "tls.key"))
        issued.cert_chain_pems[0].write_to_path(str(self.folder / "tls.crt"))
        self.trust = grpc.ssl_channel_credentials(authority.cert_pem.bytes())

    @property
    def section(self) -> dict[str, str]:
        """Gives the TLS section of a gateway's settings."""
        names = {"certificate": "tls.crt", "key": "tls.key"}
        return {key: str(self.folder / name) for key, name in names.items()}

    def open(self, address: str, token: str, *more: tuple[str, int]) -> grpc.aio.Channel:
        """Opens a channel with a token."""
        call = grpc.access_token_call_credentials(token)
        options = [
            ("grpc.initial_reconnect_backoff_ms", 50),
            # How long an attempt may take: a busy machine is slow to shake hands.
            ("grpc.min_reconnect_backoff_ms", 5_000),
            ("grpc.max_reconnect_backoff_ms", 100),
            ("grpc.use_local_subchannel_pool", 1),
            *more,
        ]
        both = grpc.composite_channel_credentials(self.trust, call)
        return grpc.aio.secure_channel(address, both, options)

    @asynccontextmanager
    async def call(
        self, address: str, token: str
    ) -> AsyncIterator[gateway_pb2_grpc.GatewayAsyncStub]:
        """Connects to a gateway as a caller."""
        async with self.open(address, token) as channel:
            yield gateway_pb2_grpc.GatewayStub(channel)


class Plugin:
    """One stream of a device plugin; the test says what it reports, and when.

    Attributes:
        node: Its node.
        responses: Everything that came.
        error: How the stream ended, or None while it goes on.
    """

    def __init__(self, authority: Authority, address: str, token: str, node: str) -> None:
        self.node = node
        self.responses: list[slots_pb2.SyncResponse] = []
        self.error: grpc.aio.AioRpcError | None = None
        self.came_at: list[float] = []
        self._channel = authority.open(address, token)
        self._requests: asyncio.Queue[slots_pb2.SyncRequest | None] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._read())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self._channel.close()

    def report(self, *lines: Line, node: str | None = None) -> None:
        """Reports who holds what: slots with namespace/pod."""
        request = slots_pb2.SyncRequest(node=self.node if node is None else node)
        for slot, pod in lines:
            namespace, _, name = pod.partition("/")
            request.holders.add(slot=slot, namespace=namespace, pod=name, container="main")
        self._requests.put_nowait(request)

    @property
    def slots(self) -> dict[str, slots_pb2.Slot]:
        """Gives the newest list by device ID."""
        return {slot.id: slot for slot in self.responses[-1].slots} if self.responses else {}

    @property
    def healthy(self) -> set[str]:
        """Gives the slots of the newest list that pods may be given."""
        return {name for name, slot in self.slots.items() if slot.healthy}

    @property
    def code(self) -> Any:
        """Gives the status with which the stream ended, or None."""
        return None if self.error is None else self.error.code()

    async def wait(self, *names: str, seconds: float = 10.0) -> float:
        """Waits until exactly these slots are healthy here; returns how long that took."""
        began = time.monotonic()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not (self.responses and self.healthy == set(names)):  # noqa: ASYNC110
                    await asyncio.sleep(0.005)
        assert self.healthy == set(names), (self.slots, self.error)
        return time.monotonic() - began

    async def wait_ended(self, seconds: float = 10.0) -> grpc.StatusCode:
        """Waits until the stream ended and gives its status."""
        assert self._task is not None
        await asyncio.wait_for(asyncio.shield(self._task), seconds)
        assert self.error is not None, "the stream ended without an error"
        return self.error.code()

    async def _read(self) -> None:
        async def requests() -> AsyncIterator[slots_pb2.SyncRequest]:
            while (request := await self._requests.get()) is not None:
                yield request

        stub = slots_pb2_grpc.SlotsStub(self._channel)
        try:
            async for response in stub.Sync(requests(), wait_for_ready=True):
                self.responses.append(response)
                self.came_at.append(time.monotonic())
        except grpc.aio.AioRpcError as error:
            self.error = error
