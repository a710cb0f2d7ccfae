"""Commands that run side by side."""

import sys
import time
from pathlib import Path

import pytest

from tools.e2e import run_lanes


def lane(program: str) -> tuple[str, ...]:
    return (sys.executable, "-c", program)


def test_lanes_run_at_once_and_failures_are_named(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    # Each waits for the other: one after the other they would wait for ever.
    meet = """
import sys, time
from pathlib import Path
Path({mine!r}).touch()
while not Path({other!r}).exists():
    time.sleep(0.01)
print("met")
sys.exit({status})
"""
    first, second = str(tmp_path / "first"), str(tmp_path / "second")
    began = time.monotonic()
    failed = run_lanes(
        {
            "good": lane(meet.format(mine=first, other=second, status=0)),
            "bad": lane(meet.format(mine=second, other=first, status=3)),
        },
        tmp_path,
    )
    assert failed == ["bad"]
    assert time.monotonic() - began < 20
    printed = capfd.readouterr().out
    assert "good | met" in printed
    assert "bad  | met" in printed
