"""Processes are ended by identity: what has only a recorded pid in common is left alone."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster import processes, state
from tests.cluster.errors import ClusterError
from tests.cluster.layout import Layout


@pytest.fixture
def layout(tmp_path: Path) -> Iterator[Layout]:
    made = Layout("c", tmp_path)
    yield made
    for process in processes.running(made):
        processes.end(process, grace_seconds=0)


def test_a_process_outlives_its_launcher_and_is_found_again(layout: Layout) -> None:
    started = processes.start(layout, "sleeper", ["sleep", "60"])
    assert processes.find(layout, "sleeper") == started
    assert os.getsid(started.pid) == started.pid
    assert Path(f"/proc/{started.pid}/cmdline").read_bytes() == b"sleep\x0060\x00"


def test_starting_again_keeps_the_one_that_runs(layout: Layout) -> None:
    first = processes.start(layout, "sleeper", ["sleep", "60"])
    assert processes.start(layout, "sleeper", ["sleep", "60"]) == first


def test_stopping_ends_it_and_forgets_it(layout: Layout) -> None:
    started = processes.start(layout, "sleeper", ["sleep", "60"])
    processes.stop(layout, "sleeper")
    assert processes.start_ticks(started.pid) is None
    assert not layout.record("sleeper").exists()


def test_one_that_ignores_sigterm_is_killed(layout: Layout) -> None:
    started = processes.start(
        layout, "deaf", ["sh", "-c", "trap '' TERM; while :; do sleep 1; done"]
    )
    time.sleep(0.2)
    processes.stop(layout, "deaf", grace_seconds=0.3)
    assert processes.start_ticks(started.pid) is None


def test_one_that_is_stopped_can_be_ended(layout: Layout) -> None:
    started = processes.start(layout, "frozen", ["sleep", "60"])
    processes.send(started, signal.SIGSTOP)
    processes.stop(layout, "frozen", grace_seconds=5)
    assert processes.start_ticks(started.pid) is None


@pytest.mark.parametrize("forged", ["start time", "boot"])
def test_a_recycled_pid_is_never_signalled(layout: Layout, forged: str) -> None:
    with subprocess.Popen(["sleep", "60"]) as bystander:
        stat = Path(f"/proc/{bystander.pid}/stat").read_text().strip()
        boot = state.boot()
        if forged == "start time":
            head, _, tail = stat.rpartition(")")
            fields = tail.split()
            fields[19] = str(int(fields[19]) - 1)
            stat = f"{head}) {' '.join(fields)}"
        else:
            boot = "another"
        layout.run.mkdir(parents=True)
        layout.record("stale").write_text(f"{stat}\n{boot}\n")
        assert processes.find(layout, "stale") is None
        processes.stop(layout, "stale")
        assert bystander.poll() is None
        bystander.kill()


def test_a_pid_recycled_after_it_was_found_is_not_signalled(layout: Layout) -> None:
    with subprocess.Popen(["sleep", "60"]) as bystander:
        ticks = processes.start_ticks(bystander.pid)
        assert ticks is not None
        assert not processes.send(processes.Process("x", bystander.pid, ticks - 1), signal.SIGKILL)
        assert bystander.poll() is None
        bystander.kill()


def test_what_fails_at_once_says_why(layout: Layout) -> None:
    # It may be found alive first: it is recorded before it becomes the program.
    with contextlib.suppress(ClusterError):
        processes.wait_gone(processes.start(layout, "absent", ["/no/such/program"]), 5)
    assert "/no/such/program: not found" in processes.tail(layout, "absent")


def test_a_name_with_spaces_and_brackets_does_not_confuse_it() -> None:
    fields = " ".join(["S", *["0"] * 18, "4711", "0"])
    assert processes.parse_stat(f"12 (a) b (c)) {fields}") == (12, 4711)


def test_a_zombie_is_not_alive() -> None:
    fields = " ".join(["Z", *["0"] * 18, "4711", "0"])
    with pytest.raises(ValueError, match="no living process"):
        processes.parse_stat(f"12 (x) {fields}")


def test_launchers_that_start_at_once_choose_different_ports() -> None:
    port = state.free_port("127.0.0.1", set())
    other = choose_port_elsewhere(range(port, port + 1))
    assert f"no free port at 127.0.0.1 between {port} and {port + 1}" in other.stderr
    other = choose_port_elsewhere(range(port, port + 100))
    assert port < int(other.stdout) < port + 100


def choose_port_elsewhere(among: range) -> subprocess.CompletedProcess[str]:
    program = f"""
from tests.cluster import state
print(state.free_port("127.0.0.1", set(), {among!r}))
"""
    command = [sys.executable, "-c", program]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
