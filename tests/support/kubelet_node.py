"""A node for tests: a kubelet's stand-in, gateways' stand-ins, and a device plugin between them."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from kubeqpu.deviceplugin.metrics import Registry
from kubeqpu.deviceplugin.service import DevicePlugin
from kubeqpu.deviceplugin.settings import Settings
from tests.support.kubelet import Kubelet
from tests.support.slots_gateway import HOST, TOKEN, Authority, SlotsGateway

QPU = "kubeqpu.io/qpu"
CPU = "kubeqpu.io/cpu-simulator"


async def eventually(
    condition: Callable[[], object], seconds: float = 5.0, every: float = 0.005
) -> float:
    """Waits until a condition holds; returns the seconds that took."""
    started = time.monotonic()
    while not condition():
        if time.monotonic() - started > seconds:
            raise AssertionError(f"not so after {seconds:g} s: {condition}")
        await asyncio.sleep(every)
    return time.monotonic() - started


class Plugin:
    """A running device plugin and its metrics."""

    def __init__(self, plugin: DevicePlugin, registry: Registry) -> None:
        self.service = plugin
        self._registry = registry
        self._stack = AsyncExitStack()

    def metric(self, name: str, **labels: str) -> float:
        """Reads a metric, without the prefix of its name."""
        wanted = (f"kubeqpu_deviceplugin_{name}", labels)
        for family in text_string_to_metric_families(self._registry.render()):
            for sample in family.samples:
                if (sample.name, sample.labels) == wanted:
                    return float(sample.value)
        raise AssertionError(f"there is no {wanted}")

    async def start(self) -> None:
        """Starts it."""
        await self._stack.enter_async_context(self.service.running())

    async def stop(self) -> None:
        """Stops it, as SIGTERM does."""
        await self._stack.aclose()


class Node:
    """A node.

    Args:
        folder: An empty folder with a short name.
        settings: Settings that differ from those of tests.

    Attributes:
        targets: What DNS says of the gateways; None: nothing is known.
    """

    def __init__(self, folder: Path, **settings: float) -> None:
        self.folder = folder
        self.kubelet = Kubelet(folder)
        self.authority = Authority(folder)
        self.token_file = folder / "token"
        self.token_file.write_text(TOKEN)
        self.targets: set[str] | None = set()
        self._stack = AsyncExitStack()
        defaults: dict[str, float] = {
            "grace_seconds": 0.4,
            "forget_seconds": 1.0,
            "keepalive_seconds": 0.5,
            "silence_seconds": 1.5,
            "resolve_seconds": 0.1,
            "trust_seconds": 0.5,
        }
        self.settings = replace(
            Settings(
                node_name="node-1",
                gateways=f"{HOST}:7070",
                tls_name=f"device-plugin.{HOST}",
                token_file=self.token_file,
                ca_file=self.authority.file,
                plugin_folder=self.kubelet.plugin_folder,
                pod_resources_socket=self.kubelet.pod_resources_socket,
            ),
            **(defaults | settings),  # type: ignore[arg-type]
        )

    async def _resolve(self, host: str, port: int) -> frozenset[str]:
        assert (host, port) == (HOST, 7070)
        if self.targets is None:
            raise OSError("Name or service not known")
        return frozenset(self.targets)

    async def gateway(self, gateway: SlotsGateway, known: bool = True) -> SlotsGateway:
        """Starts a gateway's pod, which DNS knows."""
        await gateway.start(self.authority)
        self._stack.push_async_callback(gateway.stop)
        if known and self.targets is not None:
            self.targets.add(gateway.target)
        return gateway

    async def plugin(self) -> Plugin:
        """Starts a device plugin."""
        registry = Registry()
        plugin = Plugin(DevicePlugin(self.settings, registry, self._resolve), registry)
        await plugin.start()
        self._stack.push_async_callback(plugin.stop)
        return plugin

    def list(self, resource: str = QPU) -> dict[str, bool]:
        """The list that the kubelet has: whether each slot is healthy."""
        endpoint = self.kubelet.endpoints.get(resource)
        return dict(endpoint.devices) if endpoint else {}

    @asynccontextmanager
    async def closing(self) -> AsyncIterator["Node"]:
        """Ends everything that was started when the context closes."""
        try:
            yield self
        finally:
            await self._stack.aclose()
            await self.kubelet.kill()
