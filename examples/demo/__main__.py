"""The demo: `python -m examples.demo`, or with `--circuit` anyone's own circuit."""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter
from qiskit.quantum_info import SparsePauliOp
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
)

from examples.demo.circuits import Task, all_tasks
from examples.demo.gateway import run_gateway
from examples.demo.report import print_outcome, print_qpus, write_files
from examples.demo.runs import Outcome, find_small, run_task
from kubeqpu.client import ClientError, GatewayClient
from kubeqpu.cutting import CuttingError, InvalidInputError, plan, read_circuit
from kubeqpu.cutting.description import describe
from kubeqpu.cutting.gateway import GatewayExecutor
from kubeqpu.cutting.observables import read_observables

OUTPUT = Path("build/demo")
app = App(name="demo", help="Cuts circuits and runs their fragments.")


@app.default
def main(
    *,
    circuit: Path | None = None,
    observables: str | None = None,
    max_qubits: int | None = None,
    shots: int = 400_000,
    seed: int = 2026,
    output: Annotated[Path, Parameter(name="--output")] = OUTPUT,
) -> int:
    """Runs the demo's three circuits, or the one in a file.

    Args:
        circuit: OpenQASM 2, OpenQASM 3 or QPY file.
        observables: What to estimate, separated by semicolons: "Z0 Z5; 0.5 X1 + 0.5 X2".
        max_qubits: Width of the QPUs to cut for.
        shots: Shots over all fragments of a circuit.
        seed: Fixes everything random.
        output: Directory for result.json, provenance.json and plot.png.
    """
    console = Console(highlight=False, soft_wrap=True)
    try:
        tasks = (
            all_tasks()
            if circuit is None
            else (_read_task(circuit, observables, max_qubits, shots),)
        )
        with console.status("Starting a gateway"), run_gateway() as client:
            outcomes = _run_all(console, client, tasks, seed)
    except (CuttingError, ClientError, RuntimeError) as error:
        console.print(f"[red]{error}[/]")
        return 1
    console.print()
    for path in write_files(outcomes, seed, output):
        console.print(f"written: {path}")
    return 0


def _run_all(
    console: Console, client: GatewayClient, tasks: tuple[Task, ...], seed: int
) -> list[Outcome]:
    print_qpus(console, client.qpus())
    return [
        _run_one(console, client, task, seed, f"{number} of {len(tasks)}")
        for number, task in enumerate(tasks, 1)
    ]


def _run_one(
    console: Console, client: GatewayClient, task: Task, seed: int, number: str
) -> Outcome:
    console.print(f"\n[bold]{number} · {task.title}[/] → QPUs of {task.max_qubits} qubits")
    began = time.monotonic()
    cut = plan(task.circuit, task.observables, task.max_qubits)
    console.print(describe(cut, task.shots))
    with Progress(
        TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn(),
        console=console, transient=True,
    ) as bars:  # fmt: skip
        executor = GatewayExecutor(
            client, qpus=find_small(client.qpus()), progress=_show_progress(bars)
        )
        for index, site in enumerate(executor.choose_sites(cut, exact=False)):
            console.print(f"  fragment {index} → {site.reason}")
        outcome = run_task(client, task, cut, executor, seed, lambda what: _announce(bars, what))
    print_outcome(console, outcome)
    console.print(f"took {time.monotonic() - began:.0f} s")
    return outcome


def _show_progress(bars: Progress) -> Callable[[int, int, int], None]:
    """Draws a bar per fragment; a second round of the same fragment begins it anew."""
    known: dict[int, TaskID] = {}

    def show(fragment: int, done: int, total: int) -> None:
        if fragment not in known:
            known[fragment] = bars.add_task(f"fragment {fragment}", total=total)
        bars.update(known[fragment], completed=done, total=total)

    return show


def _announce(bars: Progress, what: str) -> None:
    bars.add_task(what, total=None)


def _read_task(path: Path, observables: str | None, max_qubits: int | None, shots: int) -> Task:
    if observables is None or max_qubits is None:
        raise InvalidInputError(
            "A circuit of your own needs OBSERVABLES and MAX_QUBITS too: "
            'make demo CIRCUIT=mine.qasm OBSERVABLES="Z0 Z5; X1" MAX_QUBITS=4'
        )
    circuit = read_circuit(path).remove_final_measurements(inplace=False)
    assert circuit is not None
    wanted = [text.strip() for text in observables.split(";") if text.strip()]
    operators = {
        observable.name: SparsePauliOp.from_list(list(observable.terms))
        for observable in read_observables(wanted, circuit.num_qubits)
    }
    title = f"{path.name}, {circuit.num_qubits} qubits"
    return Task(path.stem, title, circuit, operators, max_qubits, shots, uncut_shots=1_000)


if __name__ == "__main__":
    sys.exit(app())
