"""Commands that run side by side."""

import sys
import time
from pathlib import Path

import pytest

from tools.e2e import ROOT, find_shared, run_lanes


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
        cwd=tmp_path,
    )
    assert failed == ["bad"]
    assert time.monotonic() - began < 20
    printed = capfd.readouterr().out
    assert "good | met" in printed
    assert "bad  | met" in printed


def test_what_is_shared_runs_once_in_the_lane_that_is_done(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    wait = """
import time
from pathlib import Path
while not Path("done").exists():
    time.sleep(0.01)
"""
    shared = [lane("print('one')"), lane("open('done', 'w'); print('two'); raise SystemExit(2)")]
    failed = run_lanes({"busy": lane(wait), "idle": lane("")}, shared, tmp_path)
    assert failed == ["idle"]
    printed = capfd.readouterr().out
    assert [line for line in printed.splitlines() if "|" in line] == ["idle | one", "idle | two"]


def test_every_file_of_the_launchers_tests_is_shared() -> None:
    files = {command[-1] for command in find_shared()}
    assert files == {str(file) for file in (ROOT / "tests/cluster/tests").glob("test_*.py")}
