"""A gateway as a device plugin sees it: Slots.Sync over TLS, for one node."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import trustme

from kubeqpu.proto.v1 import slots_pb2, slots_pb2_grpc

HOST = "kubeqpu-gateways.quantum.svc"
TOKEN = "token-of-the-device-plugin"


class Authority:
    """Signs gateways' certificates as the chart does: for names, not for addresses.

    Args:
        folder: Where its certificate is written.
    """

    def __init__(self, folder: Path) -> None:
        self._authority = trustme.CA()
        self.file = folder / "ca.crt"
        self.file.write_bytes(self._authority.cert_pem.bytes())

    def credentials(self) -> grpc.ServerCredentials:
        """A certificate for every gateway."""
        issued = self._authority.issue_cert(f"*.{HOST}")
        chain = b"".join(part.bytes() for part in issued.cert_chain_pems)
        return grpc.ssl_server_credentials([(issued.private_key_pem.bytes(), chain)])


def make_slots(
    qpu: str, count: int, resource: str = "kubeqpu.io/qpu", healthy: bool = True, score: float = 0.5
) -> list[slots_pb2.Slot]:
    """Describes slots of a QPU."""
    return [
        slots_pb2.Slot(
            id=f"{qpu}-{number}",
            qpu=qpu,
            resource_name=resource,
            healthy=healthy,
            reason="" if healthy else "The provider is away.",
            generation=1,
            score=score,
        )
        for number in range(count)
    ]


class SlotsGateway(slots_pb2_grpc.SlotsServicer):
    """One pod of a gateway.

    Args:
        name: Name of the gateway.
        slots: What it says of the node's slots.
        keepalive_seconds: How often it repeats that.

    Attributes:
        requests: What came, with the monotonic second.
        refuse: Status that streams end with, or None.
        mute: Whether it answers nothing.
    """

    def __init__(
        self, name: str, slots: Sequence[slots_pb2.Slot] = (), keepalive_seconds: float = 0.5
    ) -> None:
        self.name = name
        self.endpoint = f"kubeqpu-gateway-{name}.quantum.svc:7070"
        self.requests: list[tuple[float, slots_pb2.SyncRequest]] = []
        self.refuse: grpc.StatusCode | None = None
        self.mute = False
        self.tokens: list[str] = []
        self.open_streams = 0
        self._newest = 0
        self._slots = list(slots)
        self._keepalive_seconds = keepalive_seconds
        self._changed = asyncio.Event()
        self._server: grpc.aio.Server | None = None
        self.target = ""

    def say(self, slots: Iterable[slots_pb2.Slot]) -> None:
        """Says something else of the node's slots."""
        self._slots = list(slots)
        self._changed.set()
        self._changed = asyncio.Event()

    @property
    def holders(self) -> dict[str, str]:
        """Who holds which slot, as last reported: namespace/pod by ID."""
        if not self.requests:
            return {}
        return {
            found.slot: f"{found.namespace}/{found.pod}" for found in self.requests[-1][1].holders
        }

    async def Sync(  # noqa: N802
        self,
        requests: AsyncIterator[slots_pb2.SyncRequest],
        context: grpc.aio.ServicerContext[slots_pb2.SyncRequest, slots_pb2.SyncResponse],
    ) -> AsyncIterator[slots_pb2.SyncResponse]:
        metadata = dict(context.invocation_metadata() or ())
        self.tokens.append(str(metadata.get("authorization", "")))
        if self.refuse is not None:
            await context.abort(self.refuse, "Only the node's device plugin may report holders.")
        first = await anext(aiter(requests))
        self.requests.append((time.monotonic(), first))
        # One stream for each node: the newest.
        self._newest, mine = self._newest + 1, self._newest + 1
        self.say(self._slots)
        reading = asyncio.create_task(self._read(requests))
        self.open_streams += 1
        try:
            while True:
                changed = self._changed
                if self._newest != mine:
                    await context.abort(grpc.StatusCode.ABORTED, "Another stream took its place.")
                if not self.mute:
                    yield slots_pb2.SyncResponse(
                        gateway=self.name, endpoint=self.endpoint, slots=self._slots
                    )
                try:
                    async with asyncio.timeout(self._keepalive_seconds):
                        await changed.wait()
                except TimeoutError:
                    pass
        finally:
            self.open_streams -= 1
            reading.cancel()

    async def _read(self, requests: AsyncIterator[slots_pb2.SyncRequest]) -> None:
        async for request in requests:
            self.requests.append((time.monotonic(), request))

    async def start(self, authority: Authority, address: str = "127.0.0.1", port: int = 0) -> None:
        """Serves over TLS."""
        self._server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
        slots_pb2_grpc.add_SlotsServicer_to_server(self, self._server)
        bound = self._server.add_secure_port(f"{address}:{port}", authority.credentials())
        self.target = f"ipv4:{address}:{bound}"
        self.port = bound
        await self._server.start()

    async def stop(self) -> None:
        """Ends at once; its address stays free for a successor."""
        if self._server is not None:
            server, self._server = self._server, None
            await server.stop(None)


@asynccontextmanager
async def running_gateway(
    gateway: SlotsGateway, authority: Authority
) -> AsyncIterator[SlotsGateway]:
    """A gateway that serves while the context is open."""
    await gateway.start(authority)
    try:
        yield gateway
    finally:
        await gateway.stop()
