"""Running other programs: their output when they fail, and waiting with a reason."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tests.cluster.errors import ClusterError, MissingError


def run(
    command: Sequence[str | Path],
    *,
    text: str | None = None,
    environment: Mapping[str, str] | None = None,
    seconds: float = 600,
    folder: Path | None = None,
) -> str:
    """Run a command and return its standard output.

    Raises:
        MissingError: the program is not installed.
        ClusterError: it failed; the message holds what it said.
    """
    words = [str(word) for word in command]
    try:
        result = subprocess.run(
            words, input=text, capture_output=True, text=True, check=False, timeout=seconds,
            env=dict(environment) if environment is not None else None, cwd=folder,
        )  # fmt: skip
    except FileNotFoundError as error:
        raise MissingError(f"{words[0]} is not installed: run 'check' to see what helps") from error
    except subprocess.TimeoutExpired as error:
        raise ClusterError(f"{' '.join(words)} did not end within {seconds:.0f} s") from error
    if result.returncode != 0:
        said = (result.stderr.strip() or result.stdout.strip())[-3000:]
        raise ClusterError(f"{' '.join(words)[:400]} failed ({result.returncode}):\n{said}")
    return result.stdout


def wait_until(
    condition: Callable[[], bool],
    what: str,
    *,
    seconds: float,
    every: float = 0.1,
    still_alive: Callable[[], str | None] = lambda: None,
) -> None:
    """Wait for a condition.

    Args:
        condition: asked again and again.
        what: completes "waited N s for ...".
        seconds: how long to wait.
        every: the pause between two questions, in seconds.
        still_alive: says why waiting has become pointless, or None.

    Raises:
        ClusterError: it did not come true in time, or waiting became pointless.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if reason := still_alive():
            raise ClusterError(reason)
        if time.monotonic() > deadline:
            raise ClusterError(f"waited {seconds:.0f} s for {what}")
        time.sleep(every)
