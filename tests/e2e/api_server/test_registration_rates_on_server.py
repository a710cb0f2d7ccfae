"""What a hundred QPUs of one gateway cost the API server, and the gateway."""

import asyncio
import itertools
import time
from collections.abc import Callable, Iterator

import psutil
import pytest

from tests.e2e.api_server.registering import (
    count_writes,
    install,
    registering,
    until,
)
from tests.e2e.api_server.server import APIServer

NAMES = [f"dev-{number:02}" for number in range(100)]
# Longer than the period of the Leases.
SECONDS = 12.0


@pytest.fixture(scope="module")
def release(server: APIServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[APIServer]:
    """The chart with a hundred QPUs."""
    install(
        server, tmp_path_factory.mktemp("values"), {name: {"provider": "fake"} for name in NAMES}
    )
    yield server
    server.remove_release()


def ready(server: APIServer) -> int:
    path = '{.items[*].status.conditions[?(@.type=="Ready")].status}'
    return server.kubectl("get", "qpus", f"--output=jsonpath={path}").split().count("True")


def busy() -> Callable[[], int]:
    """A queue whose length changes by more than a tenth with every look."""
    lengths = itertools.cycle([10, 20, 40, 80, 160, 80, 40, 20])
    return lambda: next(lengths)


@pytest.mark.slow
@pytest.mark.timeout(240)
async def test_a_hundred_qpus_write_seldom(release: APIServer) -> None:
    sections = [
        {"name": name, "provider": "fake", "options": {"backend": "FakeFez", "num_qubits": 20}}
        for name in NAMES
    ]
    process = psutil.Process()
    async with registering(release, sections) as made:
        took = await until(lambda: ready(release) == len(NAMES), "all to be Ready", 90)
        await asyncio.sleep(7)

        async def measure() -> tuple[float, float]:
            writes, cpu, began = count_writes(release), time.process_time(), time.monotonic()
            await asyncio.sleep(SECONDS)
            passed = time.monotonic() - began
            return (count_writes(release) - writes) / passed, (time.process_time() - cpu) / passed

        idle, idle_cpu = await measure()
        for name in NAMES:
            made.qpus[name].count_pending = busy()
        busy_writes, busy_cpu = await measure()
        for qpu in made.qpus.values():
            qpu.count_pending = lambda: 7

        def settled() -> bool:
            path = "{.items[*].status.queue.gatewayPending}"
            found = release.kubectl("get", "qpus", f"--output=jsonpath={path}").split()
            return found == ["7"] * len(NAMES)

        await until(settled, "the last state of all", 12)
    print(
        f"ready after {took:.1f} s; idle {idle:.1f} writes/s, CPU {idle_cpu:.1%}; "
        f"busy {busy_writes:.1f} writes/s, CPU {busy_cpu:.1%}; "
        f"RSS {process.memory_info().rss / 2**20:.0f} MiB"
    )
    assert 8 <= idle < 15
    assert 20 <= busy_writes < 50
