"""The device plugin as a process: its probes, its metrics, its end, and its memory."""

import asyncio
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from tests.support.kubelet import Kubelet
from tests.support.kubelet_node import CPU, QPU, eventually
from tests.support.slots_gateway import HOST, TOKEN, Authority, SlotsGateway, make_slots

BIN = Path(sys.executable).parent


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


class Plugin:
    """The program `deviceplugin` on a node whose kubelet and gateway may not be there."""

    def __init__(self, folder: Path, gateway_port: int) -> None:
        (folder / "token").write_text(TOKEN)
        self.folder = folder
        self.kubelet = Kubelet(folder)
        self.authority = Authority(folder)
        self.health_port, self.metrics_port = free_port(), free_port()
        self._environment = {
            "KUBEQPU_NODE_NAME": "node-1",
            "KUBEQPU_GATEWAYS": f"127.0.0.1:{gateway_port}",
            "KUBEQPU_TLS_NAME": f"device-plugin.{HOST}",
            "KUBEQPU_TOKEN_FILE": str(folder / "token"),
            "KUBEQPU_CA_FILE": str(self.authority.file),
            "KUBEQPU_PLUGIN_FOLDER": str(self.kubelet.plugin_folder),
            "KUBEQPU_POD_RESOURCES_SOCKET": str(self.kubelet.pod_resources_socket),
            "KUBEQPU_HEALTH_PORT": str(self.health_port),
            "KUBEQPU_METRICS_PORT": str(self.metrics_port),
            "KUBEQPU_TRUST_SECONDS": "0.3",
        }
        self.process = self.start()

    def start(self) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [str(BIN / "deviceplugin")], env=self._environment, stderr=subprocess.PIPE, text=True
        )

    async def ask(self, page: str) -> tuple[int, str]:
        port = self.metrics_port if page == "metrics" else self.health_port

        def get() -> tuple[int, str]:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/{page}", timeout=5) as answer:
                    return int(answer.status), answer.read().decode()
            except urllib.error.HTTPError as error:
                return error.code, error.read().decode()
            except OSError as error:
                return 0, str(error)

        return await asyncio.to_thread(get)

    async def wait_for(self, page: str, status: int, seconds: float = 10.0) -> str:
        started = time.monotonic()
        while (found := await self.ask(page))[0] != status:
            assert time.monotonic() - started < seconds, found
            assert self.process.poll() is None, self.process.communicate()[1]
            await asyncio.sleep(0.05)
        return found[1]


@asynccontextmanager
async def open_plugin(gateway_port: int = 1) -> AsyncIterator[Plugin]:
    with tempfile.TemporaryDirectory(prefix="node-") as name:
        plugin = Plugin(Path(name), gateway_port)
        try:
            yield plugin
        finally:
            plugin.process.kill()
            plugin.process.communicate()
            await plugin.kubelet.kill()


async def test_it_lives_without_a_kubelet_or_a_gateway_and_says_that_it_is_not_ready() -> None:
    async with open_plugin() as plugin:
        assert await plugin.wait_for("healthz", 200) == "ok\n"
        assert "has not said" in await plugin.wait_for("readyz", 503)
        await plugin.kubelet.start()
        # No gateway, no slot, nothing to register: ready.
        assert await plugin.wait_for("readyz", 200) == "ok\n"
        assert (await plugin.ask("healthz"))[0] == 200
        assert plugin.process.poll() is None


async def test_it_serves_slots_and_metrics_and_ends_at_sigterm() -> None:
    port = free_port()
    async with open_plugin(port) as plugin:
        gateway = SlotsGateway("lab", [*make_slots("fez", 2), *make_slots("aer", 1, CPU)])
        await gateway.start(plugin.authority, port=port)
        await plugin.kubelet.start()
        await eventually(lambda: len(plugin.kubelet.free(QPU)) == 2, seconds=20)
        await eventually(lambda: plugin.kubelet.free(CPU) == ["aer-0"], seconds=20)
        await plugin.wait_for("readyz", 200)
        status, text = await plugin.ask("metrics")
        samples = {
            (found.name, *found.labels.values()): found.value
            for family in text_string_to_metric_families(text)
            for found in family.samples
        }
        assert status == 200
        assert samples["kubeqpu_deviceplugin_gateway_streams",] == 1
        assert samples["kubeqpu_deviceplugin_registered", QPU] == 1
        plugin.process.send_signal(signal.SIGTERM)
        _, log = await asyncio.to_thread(plugin.process.communicate, timeout=10)
        assert plugin.process.returncode == 0
        assert [line for line in log.splitlines() if "Device plugin stopped" in line]
        assert TOKEN not in log
        assert list(plugin.kubelet.plugin_folder.glob("kubeqpu-*.sock")) == []
        await gateway.stop()


async def test_it_is_killed_and_comes_back_while_a_pod_holds_a_slot() -> None:
    port = free_port()
    async with open_plugin(port) as plugin:
        gateway = SlotsGateway("lab", make_slots("fez", 2))
        await gateway.start(plugin.authority, port=port)
        await plugin.kubelet.start()
        await eventually(lambda: len(plugin.kubelet.free(QPU)) == 2, seconds=20)
        await plugin.kubelet.admit("pod", QPU)
        await eventually(lambda: gateway.holders)
        before = gateway.holders
        plugin.process.kill()
        plugin.process.communicate()
        await eventually(lambda: plugin.kubelet.healthy(QPU) == set())
        assert plugin.kubelet.capacity(QPU) == 2
        plugin.process = plugin.start()
        await eventually(lambda: len(plugin.kubelet.healthy(QPU)) == 2, seconds=20)
        assert gateway.holders == before
        assert plugin.kubelet.record.shrunk == []
        await gateway.stop()


async def test_a_port_that_is_taken_ends_it_with_a_sentence() -> None:
    async with open_plugin() as plugin:
        await plugin.wait_for("healthz", 200)
        second = plugin.start()
        _, said = await asyncio.to_thread(second.communicate, timeout=20)
        assert second.returncode == 2
        assert "address already in use" in said.splitlines()[-1]
