"""The tasks a worker performs, by name."""

import dataclasses
import json
from collections.abc import Iterator

from kubeqpu.qpu_gateway.errors import ProviderError
from kubeqpu.qpu_gateway.simulation.loading import load_circuits
from kubeqpu.qpu_gateway.simulation.summaries import summarise
from kubeqpu.qpu_gateway.workers.frames import Frame
from kubeqpu.qpu_gateway.workers.limits import WorkerLimits


class TaskRunner:
    """Performs tasks for one tenant and keeps what later tasks can use again."""

    def __init__(self, limits: WorkerLimits) -> None:
        self._limits = limits

    def run(self, request: Frame) -> Iterator[Frame]:
        """Performs one task and yields its results as they are ready.

        Raises:
            CircuitError: If the circuits are not acceptable or cannot run.
            ProviderError: If the task itself cannot be performed.
        """
        task = request.head["task"]
        if task == "inspect":
            yield self._inspect(request)
        else:
            raise ProviderError(f"The worker knows no task {task!r}; this is a bug.")

    def _inspect(self, request: Frame) -> Frame:
        circuits = load_circuits(request.payload, self._limits)
        summaries = [dataclasses.asdict(summarise(circuit)) for circuit in circuits]
        return Frame({"event": "result"}, json.dumps(summaries).encode())


def prepare_imports() -> None:
    """Imports what tasks need on first use, so that forked workers have it already.

    Builds pass managers, which reads Qiskit's plugins, but runs nothing: the process that forks
    must not start threads. (Building those of levels 2 and 3 does start one.)
    """
    from qiskit.transpiler import Target, generate_preset_pass_manager  # noqa: PLC0415

    for level in range(2):
        generate_preset_pass_manager(level, target=Target(num_qubits=2))
