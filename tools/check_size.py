"""Fails when a module has grown past the length one person can keep in mind."""

import subprocess
import sys
from pathlib import Path

LIMIT = 300
GENERATED = ("_pb2.py", "_pb2_grpc.py", ".pyi")


def main() -> int:
    """Prints every tracked module over the limit; returns 1 if there is one."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.py"],
        capture_output=True,
        text=True,
        check=True,
    )
    status = 0
    for name in listed.stdout.splitlines():
        path = Path(name)
        if name.endswith(GENERATED) or not path.exists():
            continue
        lines = len(path.read_text().splitlines())
        if lines > LIMIT:
            print(f"{name}: {lines} lines, at most {LIMIT}. Split it along what it decides.")
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
