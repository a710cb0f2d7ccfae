"""Runs the end-to-end tests in two lanes at once, for about half of the time each of them waits.

Every lane has clusters of its own; what a lane prints is marked with its name. The lane that has
done its own takes from what is left for either.
"""

import os
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PYTEST = (sys.executable, "-m", "pytest", "--verbosity=1", "--durations=10")
LANES = {
    "nodes": (*PYTEST, "tests/e2e", "--ignore=tests/e2e/api_server", "-m", "not slow"),
    "servers": (*PYTEST, "tests/e2e/api_server"),
}
# The longest first, so that the lanes end together; what is new comes before all of them.
_LAST = ("recovery", "nodes", "control_plane", "addons", "processes", "decisions")

Command = Sequence[str]


def find_shared(folder: Path = ROOT / "tests/cluster/tests") -> list[Command]:
    """Finds the tests of the launcher: each file makes clusters of its own."""
    order = {f"test_{name}": place for place, name in enumerate(_LAST)}
    files = sorted(folder.glob("test_*.py"), key=lambda file: order.get(file.stem, -1))
    return [(*PYTEST, str(file)) for file in files]


def run_lanes(
    lanes: Mapping[str, Command], shared: Sequence[Command] = (), cwd: Path = ROOT
) -> list[str]:
    """Runs commands side by side.

    Args:
        lanes: The commands, by name.
        shared: What is run by the lanes that are done, one command at a time.
        cwd: Where they run.

    Returns:
        The names of those that failed; a shared command makes the lane fail that ran it.
    """
    began = time.monotonic()
    left = deque(shared)
    failed: set[str] = set()
    width = max(map(len, lanes))

    def run_lane(name: str, own: Command) -> None:
        command: Command | None = own
        while command is not None:
            if _run(command, f"{name:{width}} | ", cwd) != 0:
                failed.add(name)
            try:
                command = left.popleft()
            except IndexError:
                command = None
        print(f"{name}: over after {time.monotonic() - began:.0f} s", flush=True)

    threads = [threading.Thread(target=run_lane, args=lane) for lane in lanes.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(failed)


def _run(command: Command, mark: str, cwd: Path) -> int:
    process = subprocess.Popen(
        list(command), cwd=cwd, text=True, errors="replace",
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    assert process.stdout is not None
    with process.stdout as lines:
        for line in lines:
            print(f"{mark}{line}", end="", flush=True)
    return process.wait()


def main() -> int:
    """Runs all lanes; 1 if one failed."""
    failed = run_lanes(LANES, find_shared())
    if failed:
        print(f"failed: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
