"""The device plugin between stand-ins of a kubelet and of a gateway: how fast, and how large.

The plugin is a process of its own, speaks TLS to the gateway and serves its metrics. The stand-ins
are in this process, on the same processors, so their share of the time is in the figures.
"""

import asyncio
import random
import tempfile
import time
import urllib.request
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.deviceplugin_process import PluginProcess
from tests.benchmarks.report import Report
from tests.support.kubelet import Kubelet
from tests.support.kubelet_endpoint import Endpoint
from tests.support.slots_gateway import HOST, TOKEN, Authority, SlotsGateway, make_slots

RESOURCE = "kubeqpu.io/qpu"
# 24 characters with its number, as IDs of real QPUs may have.
QPU = "superconducting-lab"
SLOTS, MANY_SLOTS = 1_000, 10_000
RESTARTS, CHANGES, ALLOCATIONS = 100, 100, 2_000
METRICS_PORT = 19464
_GIVE_UP_SECONDS = 20.0


@dataclass
class Bench:
    """What is measured on."""

    kubelet: Kubelet
    gateway: SlotsGateway
    process: PluginProcess


@asynccontextmanager
async def running(slots: int) -> AsyncIterator[Bench]:
    """A plugin between its stand-ins, which has listed its slots."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        authority = Authority(folder)
        (folder / "token").write_text(TOKEN)
        kubelet, gateway = Kubelet(folder), SlotsGateway("lab", make_slots(QPU, slots), 10.0)
        await kubelet.start()
        await gateway.start(authority)
        process = PluginProcess(
            {
                "KUBEQPU_NODE_NAME": "node-1",
                "KUBEQPU_GATEWAYS": f"127.0.0.1:{gateway.port}",
                "KUBEQPU_TLS_NAME": f"device-plugin.{HOST}",
                "KUBEQPU_TOKEN_FILE": str(folder / "token"),
                "KUBEQPU_CA_FILE": str(authority.file),
                "KUBEQPU_PLUGIN_FOLDER": str(kubelet.plugin_folder),
                "KUBEQPU_POD_RESOURCES_SOCKET": str(kubelet.pod_resources_socket),
                "KUBEQPU_HEALTH_ADDRESS": "127.0.0.1",
                "KUBEQPU_HEALTH_PORT": "0",
                "KUBEQPU_METRICS_ADDRESS": "127.0.0.1",
                "KUBEQPU_METRICS_PORT": str(METRICS_PORT),
                "KUBEQPU_LOG_LEVEL": "error",
            }
        )
        await process.start()
        try:
            await until(lambda: len(kubelet.healthy(RESOURCE)) == slots)
            yield Bench(kubelet, gateway, process)
        finally:
            await process.stop()
            await gateway.stop()
            await kubelet.kill()


async def until(condition: Callable[[], bool]) -> None:
    """Waits until a condition holds."""
    async with asyncio.timeout(_GIVE_UP_SECONDS):
        while not condition():  # noqa: ASYNC110 - of stand-ins, which signal nothing
            await asyncio.sleep(0.001)


async def next_list(endpoint: Endpoint, known: int) -> float:
    """Waits for a list beyond those known; gives when it came."""
    await until(lambda: len(endpoint.lists) > known)
    return endpoint.lists[known][0]


async def measure_restarts(bench: Bench) -> tuple[list[float], list[float]]:
    """Restarts the kubelet; gives milliseconds from its socket to Register and to the list."""
    register, received = [], []
    chance = random.Random(1)
    for _ in range(RESTARTS):
        await bench.kubelet.kill()
        # A real one takes half a second, in which the plugin's attempts fail and back off.
        await asyncio.sleep(chance.uniform(0.05, 0.5))
        asked = len(bench.kubelet.record.registrations)
        await bench.kubelet.start()
        appeared = bench.kubelet.appeared_at
        await until(lambda: RESOURCE in bench.kubelet.endpoints)
        listed = await next_list(bench.kubelet.endpoints[RESOURCE], 0)
        first = bench.kubelet.record.registrations[asked]
        register.append(1000 * (first.at - appeared))
        received.append(1000 * (listed - appeared))
    return register, received


async def measure_health(bench: Bench, slots: int, changes: int) -> list[float]:
    """Turns all slots unhealthy and back; gives milliseconds until the kubelet knows."""
    taken = []
    for number in range(changes):
        healthy = number % 2 == 1
        endpoint = bench.kubelet.endpoints[RESOURCE]
        before = len(endpoint.lists)
        changed = make_slots(QPU, slots, healthy=healthy)
        started = time.monotonic()
        bench.gateway.say(changed)
        taken.append(1000 * (await next_list(endpoint, before) - started))
        assert set(endpoint.devices.values()) == {healthy}
        await asyncio.sleep(0.05)
    return taken


async def measure_allocate(bench: Bench) -> list[float]:
    """Gives slots away; gives milliseconds for each, as the kubelet waits for it."""
    endpoint = bench.kubelet.endpoints[RESOURCE]
    slots = random.Random(2).sample(sorted(endpoint.devices), ALLOCATIONS)
    taken = []
    for slot in slots:
        started = time.perf_counter()
        env = await endpoint.allocate([slot])
        taken.append(1000 * (time.perf_counter() - started))
        assert env["KUBEQPU_SLOT"] == slot
    return taken


def scrape() -> None:
    """Reads the metrics, as Prometheus does."""
    with urllib.request.urlopen(f"http://127.0.0.1:{METRICS_PORT}/metrics", timeout=10) as answer:
        assert b"kubeqpu_deviceplugin_slots" in answer.read()


def quantile(values: list[float], share: float) -> float:
    """Gives the smallest value that so large a share of all does not exceed."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(share * len(ranked)))]


async def _measure() -> Report:
    async with running(SLOTS) as bench:
        for _ in range(10):
            await asyncio.to_thread(scrape)
        register, received = await measure_restarts(bench)
        health = await measure_health(bench, SLOTS, CHANGES)
        before = bench.process.cpu_seconds()
        await asyncio.sleep(10)
        idle_cpu = (bench.process.cpu_seconds() - before) / 10
        memory = bench.process.memory_mib()
        foreign = [path for path in bench.process.modules() if "pydantic" in path]
        assert not foreign, foreign
    async with running(MANY_SLOTS) as bench:
        allocate = await measure_allocate(bench)
        health_many = await measure_health(bench, MANY_SLOTS, 20)
        memory_many = bench.process.memory_mib()
    measured = {
        "register_ms": register,
        "list_received_ms": received,
        "health_ms": health,
        "allocate_ms": allocate,
        "health_10000_slots_ms": health_many,
    }
    return Report(
        figures={
            "register_p99_ms": quantile(register, 0.99),
            "list_received_p99_ms": quantile(received, 0.99),
            "allocate_p99_ms": quantile(allocate, 0.99),
            "health_p99_ms": quantile(health, 0.99),
            "rss_mib": memory["rss"],
        },
        conditions={
            "restarts": f"{RESTARTS} restarts of the kubelet, 0.05 to 0.5 s long, {SLOTS} slots",
            "allocate": f"{ALLOCATIONS} calls of one slot each, {MANY_SLOTS} slots",
            "health": f"all {SLOTS} slots at once, {CHANGES} times, from the gateway's word on",
            "memory": f"resident, with {SLOTS} slots, TLS, metrics and one stream, after all that",
            "neighbours": "both stand-ins run in one process on the same processors",
        },
        raw={
            **{name: [round(value, 3) for value in values] for name, values in measured.items()},
            "memory_mib": dict(memory),
            "memory_10000_slots_mib": dict(memory_many),
            "idle_processor_share": round(idle_cpu, 4),
        },
    )


def run() -> Report:
    """Measures everything."""
    return asyncio.run(_measure())
