"""What the demo prints and writes."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from examples.demo.plot import draw
from examples.demo.runs import Estimate, Outcome
from kubeqpu.client import QPUDescription


def print_qpus(console: Console, qpus: Sequence[QPUDescription]) -> None:
    """Prints the QPUs as `kubectl get qpus` will: size, wait, errors, age of calibration."""
    table = Table(box=None, pad_edge=False)
    for heading in ("QPU", "PROVIDER", "QUBITS", "WAIT", "2Q-ERROR", "READOUT", "CALIBRATED"):
        table.add_column(heading, justify="left" if heading in ("QPU", "PROVIDER") else "right")
    now = datetime.now(UTC)
    for item in qpus:
        qpu, calibration = item.qpu, item.qpu.calibration
        hours = (now - calibration.time).total_seconds() / 3600 if calibration else 0.0
        table.add_row(
            qpu.name,
            qpu.provider,
            str(qpu.num_qubits),
            f"{qpu.queue.estimated_wait_seconds:.0f} s",
            f"{calibration.median_two_qubit_error:.1e}" if calibration else "-",
            f"{calibration.median_readout_error:.1e}" if calibration else "-",
            f"{hours:.0f} h ago" if calibration else "-",
        )
    console.print(table)


def print_outcome(console: Console, outcome: Outcome) -> None:
    """Prints one task's values side by side."""
    table = Table(box=None, pad_edge=False)
    table.add_column("OBSERVABLE")
    for heading in ("CUT", "EXACT", f"UNCUT ON {(outcome.uncut_qpu or '-').upper()}"):
        table.add_column(heading, justify="right")
    for item in outcome.comparisons:
        exact = "-" if item.exact is None else f"{item.exact:.4f}"
        table.add_row(item.name, _format(item.cut), exact, _format(item.uncut))
    console.print(table)


def _format(estimate: Estimate | None) -> str:
    return "-" if estimate is None else f"{estimate.value:.4f} ± {estimate.standard_error:.4f}"


def write_files(outcomes: Sequence[Outcome], seed: int, directory: Path) -> list[Path]:
    """Writes `result.json`, `provenance.json` and `plot.png`.

    Args:
        outcomes: What to write.
        seed: The seed of the run.
        directory: Where to; made if missing.

    Returns:
        The files written.
    """
    directory.mkdir(parents=True, exist_ok=True)
    result = directory / "result.json"
    provenance = directory / "provenance.json"
    plot = directory / "plot.png"
    values = {outcome.task.name: _values(outcome) for outcome in outcomes}
    _write(result, {"seed": seed, "tasks": values})
    _write(provenance, {outcome.task.name: outcome.provenance for outcome in outcomes})
    draw(outcomes, plot)
    return [result, provenance, plot]


def _values(outcome: Outcome) -> dict[str, object]:
    return {
        item.name: {
            "value": item.cut.value,
            "standard_error": item.cut.standard_error,
            "exact": item.exact,
            "uncut": None
            if item.uncut is None
            else {
                "qpu": outcome.uncut_qpu,
                "value": item.uncut.value,
                "standard_error": item.uncut.standard_error,
            },
        }
        for item in outcome.comparisons
    }


def _write(path: Path, document: object) -> None:
    path.write_text(json.dumps(document, indent=2, sort_keys=True) + "\n", encoding="utf-8")
