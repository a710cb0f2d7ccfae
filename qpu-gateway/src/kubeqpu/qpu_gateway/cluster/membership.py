"""The gateway as a member of its cluster: its callers, its classes and its QPUs' objects."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

from kubernetes.aio import client

from kubeqpu.common.placement import PlacementClass
from kubeqpu.kube.connection import open_api_client
from kubeqpu.kube.errors import NoClusterError
from kubeqpu.qpu_gateway.access import Access
from kubeqpu.qpu_gateway.access.cluster import ClusterAccess
from kubeqpu.qpu_gateway.cancelling import Canceller
from kubeqpu.qpu_gateway.cluster.classes import ClassWatch
from kubeqpu.qpu_gateway.cluster.nodes import NodeWatch
from kubeqpu.qpu_gateway.cluster.registration import Registration
from kubeqpu.qpu_gateway.qpus import ServedQPU
from kubeqpu.qpu_gateway.settings import ClusterSettings, ConfigurationError, GatewaySettings
from kubeqpu.qpu_gateway.slots.keeper import SlotKeeper
from kubeqpu.qpu_gateway.slots.orphans import Orphans
from kubeqpu.qpu_gateway.slots.rights import SlotHolders
from kubeqpu.qpu_gateway.slots.service import SlotsService
from kubeqpu.qpu_gateway.store import Store
from kubeqpu.qpu_gateway.telemetry import Telemetry


class Membership:
    """What a gateway in a cluster has besides.

    Attributes:
        access: Knows callers and their rights.
        classes: The cluster's classes by name, as they are now.
        slots: Serves the device plugins, or None where there are none.
    """

    access: Access
    classes: Mapping[str, PlacementClass]
    slots: SlotsService | None = None

    def __init__(
        self,
        api_client: client.ApiClient,
        settings: GatewaySettings,
        cluster: ClusterSettings,
        qpus: Mapping[str, ServedQPU],
        telemetry: Telemetry,
        store: Store,
    ) -> None:
        holders, keeper = None, None
        if cluster.device_plugin is not None:
            keeper = SlotKeeper(cluster, settings.node_name, qpus, store, telemetry)
            holders = SlotHolders(keeper, qpus)
        self.access = ClusterAccess(api_client, cluster.audience, telemetry.observe_review, holders)
        self.classes = self._watch = ClassWatch(api_client, settings.placement_classes())
        board = None if keeper is None else keeper.board
        self._registration = Registration(api_client, cluster, settings.pod_name, qpus, board)
        self._slots: _Slots | None = None
        if keeper is not None:
            keeper.on_change = self._registration.refresh
            self.slots = SlotsService(cluster, keeper, telemetry, self.access)
            nodes = NodeWatch(api_client, keeper.see_nodes)
            self._slots = _Slots(cluster, store, keeper, self.slots, nodes)

    async def start(self, canceller: Canceller) -> None:
        """Registers the QPUs in the background; awaited before jobs are dispatched.

        Args:
            canceller: Cancels the jobs of pods that are gone.
        """
        if self._slots is not None:
            await self._slots.start(canceller)
        await self._watch.start()
        await self._registration.start()

    async def stop(self) -> None:
        """Says that the gateway stops, as far as that is quick."""
        if self._slots is not None:
            self._slots.service.close()
        await self._registration.stop()
        await self._watch.stop()
        if self._slots is not None:
            await self._slots.stop()


class _Slots:
    """What runs for slots where pods are given any."""

    def __init__(
        self,
        cluster: ClusterSettings,
        store: Store,
        keeper: SlotKeeper,
        service: SlotsService,
        nodes: NodeWatch,
    ) -> None:
        self.service = service
        self._cluster = cluster
        self._store = store
        self._keeper = keeper
        self._nodes = nodes
        self._orphans: asyncio.Task[None] | None = None

    async def start(self, canceller: Canceller) -> None:
        await self._keeper.start()
        await self._nodes.start()
        grace = self._cluster.orphan_grace_seconds
        orphans = Orphans(self._store, self._keeper.ledger.covers, canceller.cancel_orphan, grace)
        self._orphans = asyncio.create_task(orphans.run())

    async def stop(self) -> None:
        if self._orphans is not None:
            self._orphans.cancel()
            await asyncio.gather(self._orphans, return_exceptions=True)
        await self._nodes.stop()
        await self._keeper.stop()


@asynccontextmanager
async def join(
    settings: GatewaySettings,
    cluster: ClusterSettings,
    qpus: Mapping[str, ServedQPU],
    telemetry: Telemetry,
    store: Store,
    api_client: client.ApiClient | None = None,
) -> AsyncIterator[Membership]:
    """Connects to the cluster; nothing is written there before `start`.

    Args:
        settings: The gateway's settings.
        cluster: Their section on the cluster.
        qpus: The QPUs by name.
        telemetry: Told what happens.
        store: Where slots and jobs are.
        api_client: A connection that is open; None opens one.

    Raises:
        ConfigurationError: If there is no cluster to connect to, or it would refuse a QPU.
    """
    if api_client is not None:
        yield Membership(api_client, settings, cluster, qpus, telemetry, store)
        return
    async with AsyncExitStack() as stack:
        try:
            opened = await stack.enter_async_context(open_api_client())
        except NoClusterError as error:
            raise ConfigurationError(f"`cluster` is set, but: {error} Or remove it.") from error
        yield Membership(opened, settings, cluster, qpus, telemetry, store)
