"""Logs, metrics and stopping: what every component does alike."""

import json
import os
import signal
import subprocess
import sys
import urllib.request

import pytest
from prometheus_client import CollectorRegistry, Counter

from kubeqpu.common.logs import configure_logs
from kubeqpu.common.metrics import MetricsServer

LOG_PROGRAM = """
import logging, structlog
from kubeqpu.common.logs import configure_logs
configure_logs("info", json=True)
structlog.get_logger().info("Job stored", job="lab/j1")
structlog.get_logger().debug("Hidden")
logging.getLogger("grpc").warning("From a library")
"""
WAIT_PROGRAM = """
import asyncio
from kubeqpu.common.serve import until_stopped
async def main():
    # Printed once the handlers are in place: `until_stopped` runs up to its wait first.
    asyncio.get_running_loop().call_soon(lambda: print("ready", flush=True))
    await until_stopped()
    print("stopped", flush=True)
asyncio.run(main())
"""


def test_own_and_library_logs_are_json_lines_of_one_shape() -> None:
    program = subprocess.run(
        [sys.executable, "-c", LOG_PROGRAM], capture_output=True, text=True, check=True
    )
    own, library = (json.loads(line) for line in program.stderr.splitlines())
    assert (own["event"], own["job"], own["level"]) == ("Job stored", "lab/j1", "info")
    assert (library["event"], library["level"]) == ("From a library", "warning")
    assert own.keys() - {"job"} == library.keys()


def test_an_unknown_log_level_is_refused() -> None:
    with pytest.raises(ValueError, match="Log level is 'loud'; expected debug"):
        configure_logs("loud")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_service_stops_in_order_at_a_signal(number: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", WAIT_PROGRAM], stdout=subprocess.PIPE, text=True
    ) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "ready\n"
        os.kill(program.pid, number)
        assert program.stdout.read() == "stopped\n"
    assert program.returncode == 0


def test_metrics_are_served_until_closed() -> None:
    registry = CollectorRegistry()
    Counter("kubeqpu_things_total", "Things.", registry=registry).inc(3)
    server = MetricsServer(registry, "127.0.0.1", 0)
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics") as answer:
            assert b"kubeqpu_things_total 3.0" in answer.read()
    finally:
        server.close()
