"""Runs the end-to-end tests in two lanes at once, for about half of the time each of them waits.

Every lane has clusters of its own; what a lane prints is marked with its name.
"""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PYTEST = (sys.executable, "-m", "pytest", "--verbosity=1", "--durations=10")
LANES = {
    "nodes": (*PYTEST, "tests/e2e", "--ignore=tests/e2e/api_server"),
    "servers": (*PYTEST, "tests/e2e/api_server", "tests/cluster/tests"),
}


def run_lanes(lanes: Mapping[str, Sequence[str]], cwd: Path = ROOT) -> list[str]:
    """Runs commands side by side.

    Args:
        lanes: The commands, by name.
        cwd: Where they run.

    Returns:
        The names of those that failed.
    """
    began = time.monotonic()
    running = {}
    for name, command in lanes.items():
        process = subprocess.Popen(
            list(command), cwd=cwd, text=True, errors="replace",
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )  # fmt: skip
        mark = f"{name:{max(map(len, lanes))}} | "
        printer = threading.Thread(target=_print_lines, args=(process, mark))
        printer.start()
        running[name] = (process, printer)
    failed = []
    for name, (process, printer) in running.items():
        printer.join()
        if process.wait() != 0:
            failed.append(name)
        print(f"{name}: over after {time.monotonic() - began:.0f} s", flush=True)
    return failed


def _print_lines(process: subprocess.Popen[str], mark: str) -> None:
    assert process.stdout is not None
    with process.stdout as lines:
        for line in lines:
            print(f"{mark}{line}", end="", flush=True)


def main() -> int:
    """Runs all lanes; 1 if one failed."""
    failed = run_lanes(LANES)
    if failed:
        print(f"failed: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
