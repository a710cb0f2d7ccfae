"""Says what is going on: one line that changes on a terminal, plain lines in a log."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console


class Progress:
    """Reports steps, and how long each took."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False, soft_wrap=True)
        self.began = time.monotonic()
        self.steps: list[tuple[str, float]] = []

    def report(self, line: str) -> None:
        """Say one thing."""
        elapsed = time.monotonic() - self.began
        self.console.print(f"{elapsed:6.1f} s  {line}", markup=False)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Say when something begins and, if it took a while, when it has ended."""
        self.report(name)
        began = time.monotonic()
        yield
        took = time.monotonic() - began
        self.steps.append((name, took))
        if took > 1:
            self.report(f"{name}: done in {took:.1f} s")
