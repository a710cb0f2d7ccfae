"""Processes that outlive the command that started them, and that are ended by identity.

A process writes its own record (pid, start time, boot) before it becomes the program it is to
be, so that there is no moment at which it runs unrecorded, whatever happens to the launcher.
A pid is trusted only while all three still agree: a recycled pid is never signalled.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.errors import ClusterError
from tests.cluster.layout import Layout
from tests.cluster.state import boot as current_boot

# Arguments: the record, the cgroups to join, "--", the command. setsid --fork has made us an
# orphan by then: nobody's zombie later, and no terminal's signals reach us.
LAUNCH = """
record=$1; shift
while [ "$1" != -- ]; do echo $$ > "$1/cgroup.procs" || exit 1; shift; done; shift
cat /proc/$$/stat /proc/sys/kernel/random/boot_id > "$record.new" && mv "$record.new" "$record"
exec "$@"
"""


@dataclass(frozen=True)
class Process:
    """A process that runs now, and what tells it from any other that had or will have its pid."""

    name: str
    pid: int
    start_ticks: int


def start_ticks(pid: int) -> int | None:
    """When a living process started, in clock ticks since boot; None if there is no such one."""
    try:
        return parse_stat(Path(f"/proc/{pid}/stat").read_text())[1]
    except (OSError, ValueError):
        return None


def parse_stat(text: str) -> tuple[int, int]:
    """The pid and start time in ticks of a /proc/PID/stat line.

    Raises:
        ValueError: the process is a zombie, or the text is no such line.
    """
    head, _, tail = text.splitlines()[0].rpartition(")") if text else ("", "", "")
    fields = tail.split()
    if len(fields) < 20 or fields[0] in "ZX":
        raise ValueError("no living process")
    return int(head.split("(", 1)[0]), int(fields[19])


def find(layout: Layout, name: str) -> Process | None:
    """The recorded process of this name, if it still runs."""
    try:
        stat, boot = layout.record(name).read_text().splitlines()
        pid, ticks = parse_stat(stat)
    except (OSError, ValueError):
        return None
    if boot != current_boot() or start_ticks(pid) != ticks:
        return None
    return Process(name, pid, ticks)


def running(layout: Layout) -> list[Process]:
    """All recorded processes that still run."""
    names = sorted(path.stem for path in layout.run.glob("*.pid"))
    return [process for name in names if (process := find(layout, name))]


def start(
    layout: Layout,
    name: str,
    command: Sequence[str],
    *,
    cgroups: Sequence[Path] = (),
    environment: Mapping[str, str] | None = None,
) -> Process:
    """Start a command in the background, or return the process that already does its work.

    Raises:
        ClusterError: it ended at once.
    """
    if process := find(layout, name):
        return process
    for folder in (layout.run, layout.logs):
        folder.mkdir(parents=True, exist_ok=True)
    record = layout.record(name)
    record.unlink(missing_ok=True)
    groups = [str(path) for path in cgroups]
    with layout.log(name).open("ab") as log:
        subprocess.run(
            ["setsid", "--fork", "sh", "-c", LAUNCH, "sh", str(record), *groups, "--", *command],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=True, cwd="/",
            env=dict(environment) if environment is not None else None,
        )  # fmt: skip
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        # Asked first: a record that appears between the two questions is of a living process.
        recorded = record.exists()
        if process := find(layout, name):
            return process
        if recorded:
            break
        time.sleep(0.01)
    raise ClusterError(f"{name} ended as soon as it started:\n{tail(layout, name)}")


def tail(layout: Layout, name: str, lines: int = 15) -> str:
    """The last lines of a process' log."""
    log = layout.log(name)
    text = log.read_text(errors="replace") if log.exists() else ""
    return f"(the end of {log})\n" + "\n".join(text.splitlines()[-lines:])


def send(process: Process, number: signal.Signals) -> bool:
    """Signal a process if it is still the same one; whether it was."""
    try:
        descriptor = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return False
    try:
        # The descriptor holds on to whoever has the pid now; only then is it compared.
        if start_ticks(process.pid) != process.start_ticks:
            return False
        signal.pidfd_send_signal(descriptor, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(descriptor)
    return True


def wait_gone(process: Process, seconds: float) -> bool:
    """Wait until a process has ended; whether it did in time."""
    try:
        descriptor = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return True
    try:
        if start_ticks(process.pid) != process.start_ticks:
            return True
        poller = select.poll()
        poller.register(descriptor, select.POLLIN)
        return bool(poller.poll(seconds * 1000))
    finally:
        os.close(descriptor)


def stop(layout: Layout, name: str, *, grace_seconds: float = 10) -> None:
    """End a process: ask, and after the grace insist. Does nothing when it does not run."""
    process = find(layout, name)
    if process is not None:
        end(process, grace_seconds=grace_seconds)
    layout.record(name).unlink(missing_ok=True)


def end(process: Process, *, grace_seconds: float) -> None:
    """End a process: ask unless the grace is zero, then insist.

    Raises:
        ClusterError: it lived on, which only a process stuck in the kernel does.
    """
    if grace_seconds > 0:
        send(process, signal.SIGTERM)
        send(process, signal.SIGCONT)  # a stopped process gets its SIGTERM only now
        if wait_gone(process, grace_seconds):
            return
    with contextlib.suppress(ProcessLookupError):
        send(process, signal.SIGKILL)
    if not wait_gone(process, 30):
        raise ClusterError(f"{process.name} (pid {process.pid}) does not end, even by SIGKILL")
