"""Running other programs: their output when they fail, and waiting with a reason."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

from tests.cluster.errors import ClusterError, MissingError


def run(
    command: Sequence[str | Path],
    *,
    text: str | None = None,
    stdin: IO[bytes] | None = None,
    environment: Mapping[str, str] | None = None,
    seconds: float = 600,
    folder: Path | None = None,
) -> str:
    """Run a command and return its standard output.

    Args:
        command: the program and its arguments.
        text: what it reads on standard input.
        stdin: an open file that it reads instead.
        environment: its whole environment; ours if not given.
        seconds: how long it may take.
        folder: where it runs.

    Raises:
        MissingError: the program is not installed.
        ClusterError: it failed; the message holds what it said.
    """
    words = [str(word) for word in command]
    source = subprocess.PIPE if text is not None else stdin or subprocess.DEVNULL
    try:
        with subprocess.Popen(
            words, stdin=source, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=dict(environment) if environment is not None else None, cwd=folder,
        ) as process:  # fmt: skip
            try:
                out, err = process.communicate(text, timeout=seconds)
            except subprocess.TimeoutExpired as error:
                process.kill()
                said = f"{' '.join(words)[:400]} did not end within {seconds:.0f} s"
                raise ClusterError(said) from error
    except FileNotFoundError as error:
        raise MissingError(f"{words[0]} is not installed: run 'check' to see what helps") from error
    if process.returncode != 0:
        said = (err.strip() or out.strip())[-3000:]
        raise ClusterError(f"{' '.join(words)[:400]} failed ({process.returncode}):\n{said}")
    return out


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
