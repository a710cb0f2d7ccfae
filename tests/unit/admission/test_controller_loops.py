"""Loops survive, say so once, and are known to hang when they do; settings are checked."""

import asyncio
import subprocess
import sys
from collections.abc import Mapping

import aiohttp
import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from kubeqpu.admission.errors import ClusterError, ConfigurationError
from kubeqpu.admission.liveness import serve_health
from kubeqpu.admission.loops import Loop, Progress
from kubeqpu.admission.settings import ControllerSettings
from kubeqpu.admission.telemetry import Telemetry


async def test_a_loop_survives_and_tells_each_change_once() -> None:
    outcomes: list[Exception | None] = [
        None, ClusterError("down"), ClusterError("down"), KeyError("bug"), None, None,
    ]  # fmt: skip
    done = asyncio.Event()

    async def step() -> float:
        if not outcomes:
            done.set()
            return 60.0
        loop.wake()  # waits for nothing here
        if outcome := outcomes.pop(0):
            raise outcome
        return 60.0

    registry = CollectorRegistry()
    loop = Loop("health", step, Progress({"health": 1}), Telemetry(registry))
    with capture_logs() as logs:
        task = asyncio.create_task(loop.run())
        await asyncio.wait_for(done.wait(), 5)
        task.cancel()
    assert [(item["event"], item.get("error")) for item in logs] == [
        ("Loop failed", "down"),
        ("Loop failed", "'bug'"),
        ("Loop recovered", None),
    ]
    assert not logs[0]["exc_info"]
    assert logs[1]["exc_info"]
    sample = "kubeqpu_controller_errors_total"
    assert registry.get_sample_value(sample, {"loop": "health"}) == 3


async def test_a_failing_loop_waits_before_it_tries_again() -> None:
    tries = 0

    async def step() -> float:
        nonlocal tries
        tries += 1
        raise ClusterError("down")

    loop = Loop("health", step, Progress({"health": 1}), Telemetry(CollectorRegistry()))
    task = asyncio.create_task(loop.run())
    await asyncio.sleep(0.4)
    task.cancel()
    assert tries == 1


def test_a_loop_that_does_not_come_round_is_found() -> None:
    now = 0.0
    progress = Progress({"watch": 30, "health": 60}, lambda: now)
    now = 31.0
    assert progress.find_stalled() == {"watch": 31.0}
    progress.beat("watch")
    assert progress.find_stalled() == {}
    now = 61.0
    assert progress.find_stalled() == {"health": 61.0}


async def test_health_says_which_loop_hangs() -> None:
    stalled: Mapping[str, float] = {}
    async with (
        serve_health(lambda: stalled, "127.0.0.1", 0) as port,
        aiohttp.ClientSession() as session,
    ):
        async with session.get(f"http://127.0.0.1:{port}/healthz") as answer:
            assert (answer.status, await answer.text()) == (200, "ok\n")
        stalled = {"watch": 31.2}
        async with session.get(f"http://127.0.0.1:{port}/healthz") as answer:
            assert (answer.status, await answer.text()) == (503, "Loop watch hangs for 31 s.\n")


def test_all_metrics_are_there_from_the_start() -> None:
    registry = CollectorRegistry()
    Telemetry(registry)
    for status in ("True", "False", "Unknown"):
        assert registry.get_sample_value("kubeqpu_controller_qpus", {"ready": status}) == 0
    assert registry.get_sample_value("kubeqpu_controller_leader") == 0
    for written in ("condition", "event", "class"):
        sample = "kubeqpu_controller_writes_total"
        assert registry.get_sample_value(sample, {"object": written}) == 0


def test_settings_come_from_flags() -> None:
    flags = ["--namespace=quantum", "--lease=own", "--pod-name=one"]
    found = ControllerSettings.load([*flags, "--lease-duration-seconds=20"])
    assert (found.namespace, found.lease_duration_seconds) == ("quantum", 20)
    assert (found.health_port, found.metrics_port) == (8081, 9464)
    with pytest.raises(ConfigurationError, match="KUBEQPU_LEASE_DURATION_SECONDS"):
        ControllerSettings.load([*flags, "--lease-duration-seconds=1"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "Command '' is unknown; expected one of: controller, cleanup"),
        (["control"], "Command 'control' is unknown"),
        (["controller"], "Set KUBEQPU_NAMESPACE or the flag --namespace."),
        (["cleanup", "--namespace=quantum"], "Set KUBEQPU_LEASE or the flag --lease."),
    ],
)
def test_a_wrong_start_is_one_sentence(arguments: list[str], said: str) -> None:
    command = [sys.executable, "-m", "kubeqpu.admission", *arguments]
    ended = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60, env={})
    assert ended.returncode == 2
    assert said in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
