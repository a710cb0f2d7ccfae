"""The gateway as a member of its cluster: its callers, its classes and its QPUs' objects."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from kubernetes.aio import client

from kubeqpu.common.placement import PlacementClass
from kubeqpu.qpu_gateway.access import Access
from kubeqpu.qpu_gateway.access.cluster import ClusterAccess
from kubeqpu.qpu_gateway.cluster.classes import ClassWatch
from kubeqpu.qpu_gateway.cluster.connection import open_api_client
from kubeqpu.qpu_gateway.cluster.registration import Registration
from kubeqpu.qpu_gateway.qpus import ServedQPU
from kubeqpu.qpu_gateway.settings import ClusterSettings, GatewaySettings
from kubeqpu.qpu_gateway.telemetry import Telemetry


class Membership:
    """What a gateway in a cluster has besides.

    Attributes:
        access: Knows callers and their rights.
        classes: The cluster's classes by name, as they are now.
    """

    access: Access
    classes: Mapping[str, PlacementClass]

    def __init__(
        self,
        api_client: client.ApiClient,
        settings: GatewaySettings,
        cluster: ClusterSettings,
        qpus: Mapping[str, ServedQPU],
        telemetry: Telemetry,
    ) -> None:
        self.access = ClusterAccess(api_client, cluster.audience, telemetry.observe_review)
        self.classes = self._watch = ClassWatch(api_client, settings.placement_classes())
        self._registration = Registration(api_client, cluster, settings.pod_name, qpus)

    async def start(self) -> None:
        """Registers the QPUs in the background; awaited before jobs are dispatched."""
        await self._watch.start()
        await self._registration.start()

    async def stop(self) -> None:
        """Says that the gateway stops, as far as that is quick."""
        await self._registration.stop()
        await self._watch.stop()


@asynccontextmanager
async def join(
    settings: GatewaySettings,
    cluster: ClusterSettings,
    qpus: Mapping[str, ServedQPU],
    telemetry: Telemetry,
) -> AsyncIterator[Membership]:
    """Connects to the cluster; nothing is written there before `start`.

    Raises:
        ConfigurationError: If there is no cluster to connect to, or it would refuse a QPU.
    """
    async with open_api_client() as api_client:
        yield Membership(api_client, settings, cluster, qpus, telemetry)
