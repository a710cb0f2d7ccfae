"""Runs benchmarks by name: `python -m tests.benchmarks [NAME...]`; without a name, all of them."""

import importlib
import sys
from pathlib import Path

from tests.benchmarks.report import write_report

HERE = Path(__file__).parent
OUTPUT = HERE.parents[1] / "build" / "bench"
NOT_BENCHMARKS = {"__init__", "__main__", "report"}


def find_benchmarks() -> list[str]:
    """Lists the modules of this folder that hold a benchmark: those that define `run`."""
    modules = (path.stem for path in HERE.glob("*.py"))
    return sorted(
        name
        for name in modules
        if name not in NOT_BENCHMARKS and "\ndef run(" in (HERE / f"{name}.py").read_text()
    )


def main(wanted: list[str]) -> int:
    """Runs the wanted benchmarks one after another and prints their figures."""
    known = find_benchmarks()
    unknown = sorted(set(wanted) - set(known))
    if unknown:
        print(f"No benchmark is called {', '.join(unknown)}. There are: {', '.join(known)}.")
        return 2
    for name in wanted or known:
        print(f"{name}: running", flush=True)
        report = importlib.import_module(f"tests.benchmarks.{name}").run()
        path = write_report(name, report, OUTPUT)
        for figure, value in sorted(report.figures.items()):
            print(f"  {figure:<40} {value:.4g}")
        print(f"  written to {path.relative_to(OUTPUT.parents[1])}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
