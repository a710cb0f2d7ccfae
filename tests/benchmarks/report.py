"""What a benchmark leaves behind: one JSON file with figures, conditions and raw numbers."""

import json
import os
import platform
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TypeAlias

Raw: TypeAlias = "dict[str, Raw] | list[Raw] | str | int | float | bool | None"

MEASURED_WITH = ("qiskit", "qiskit-aer", "qiskit-addon-cutting", "numpy", "grpcio", "sqlalchemy")


@dataclass(frozen=True)
class Report:
    """Outcome of one benchmark.

    Attributes:
        figures: Named numbers that docs and README quote.
        conditions: What was measured and how, in words.
        raw: Every single measurement, so that a figure can be checked.
    """

    figures: dict[str, float]
    conditions: dict[str, str]
    raw: dict[str, Raw] = field(default_factory=dict)


def write_report(name: str, report: Report, directory: Path) -> Path:
    """Writes `<name>.json` with the machine's and libraries' description added.

    Args:
        name: Name of the benchmark.
        report: What it measured.
        directory: Where to write; made if missing.

    Returns:
        The file written.
    """
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{name}.json"
    conditions = {**_machine(), **report.conditions}
    document = {"figures": report.figures, "conditions": conditions, "raw": report.raw}
    path.write_text(json.dumps(document, indent=2, sort_keys=True) + "\n")
    return path


def _machine() -> dict[str, str]:
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in MEASURED_WITH)
    load = os.getloadavg()[0]
    return {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "cpus": str(os.cpu_count()),
        "architecture": platform.machine(),
        "load_before_writing": f"{load:.2f}",
        "versions": versions,
    }
