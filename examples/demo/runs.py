"""Runs one task three ways: cut, uncut on a larger QPU, and exactly."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import JsonValue
from qiskit.quantum_info import SparsePauliOp

from examples.demo.circuits import Task
from kubeqpu.client import (
    EstimatorEntry,
    EstimatorJob,
    GatewayClient,
    Observable,
    Options,
    QPUDescription,
    circuits_to_qpy,
)
from kubeqpu.cutting import Plan, run
from kubeqpu.cutting.gateway import GatewayExecutor


@dataclass(frozen=True)
class Estimate:
    """A value with its statistical standard error."""

    value: float
    standard_error: float


@dataclass(frozen=True)
class Comparison:
    """One observable, estimated in every way that was possible.

    Attributes:
        name: The observable.
        cut: From the fragments.
        uncut: From the whole circuit on a larger QPU, or None where none is large enough.
        exact: The value without noise and sampling, or None where no simulator reaches it.
    """

    name: str
    cut: Estimate
    uncut: Estimate | None
    exact: float | None


@dataclass(frozen=True)
class Outcome:
    """What came of one task.

    Attributes:
        task: The task.
        comparisons: One per observable.
        max_width: Qubits of the widest fragment.
        uncut_qpu: Where the whole circuit ran, or None.
        provenance: Where the values from the fragments come from.
    """

    task: Task
    comparisons: tuple[Comparison, ...]
    max_width: int
    uncut_qpu: str | None
    provenance: dict[str, JsonValue]


def run_task(
    client: GatewayClient,
    task: Task,
    plan: Plan,
    executor: GatewayExecutor,
    seed: int,
    announce: Callable[[str], None],
) -> Outcome:
    """Runs a task cut, uncut and exactly.

    Args:
        client: The gateway.
        task: What to run.
        plan: How it is cut.
        executor: Runs the fragments.
        seed: Fixes everything random.
        announce: Told what runs next.

    Returns:
        The values side by side.
    """
    width = max(fragment.num_qubits for fragment in plan.fragments)
    announce("fragments")
    result = run(plan, executor, shots=task.shots, seed=seed)
    qpus = client.qpus()
    largest = find_largest(qpus)
    uncut = None
    if largest.num_qubits >= task.circuit.num_qubits:
        announce(f"the whole circuit on {largest.name}")
        uncut = _estimate_uncut(client, task, largest.name, seed)
    exact = None
    simulator = _ideal_simulator(qpus, task)
    if simulator is not None:
        announce("exact values")
        exact = _evaluate(client, task, simulator)
    comparisons = tuple(
        Comparison(
            name,
            Estimate(float(result.values[index]), float(result.standard_errors[index])),
            uncut[index] if uncut else None,
            exact[index] if exact else None,
        )
        for index, name in enumerate(result.names)
    )
    uncut_qpu = largest.name if uncut else None
    return Outcome(task, comparisons, width, uncut_qpu, dict(result.provenance))


def find_largest(qpus: Sequence[QPUDescription]) -> QPUDescription:
    """Finds the widest QPU with noise: the one that whole circuits are compared on."""
    return max((qpu for qpu in qpus if qpu.noisy), key=lambda qpu: qpu.num_qubits)


def find_small(qpus: Sequence[QPUDescription]) -> list[str]:
    """Names the QPUs with noise that fragments may use: all but the widest."""
    largest = find_largest(qpus)
    return [qpu.name for qpu in qpus if qpu.noisy and qpu.name != largest.name]


def _ideal_simulator(qpus: Sequence[QPUDescription], task: Task) -> str | None:
    fitting = [
        qpu.name
        for qpu in qpus
        if qpu.capabilities.exact and qpu.num_qubits >= task.circuit.num_qubits
    ]
    return min(fitting, default=None)


def _estimate_uncut(client: GatewayClient, task: Task, qpu: str, seed: int) -> list[Estimate]:
    """Runs the whole circuit, its shots divided evenly over the measurement bases."""
    operators = list(task.observables.values())
    bases = len(SparsePauliOp.sum(operators).group_commuting(qubit_wise=True))
    precision = float(np.sqrt(bases / task.uncut_shots))
    entry = EstimatorEntry(_observables(task), precision=precision)
    job = EstimatorJob(
        circuits=circuits_to_qpy([task.circuit]),
        entries=[entry],
        qpu=qpu,
        seed=seed,
        options=Options(transpile_level=3),
    )
    data = client.submit(job).result().entries[0].expectations
    return [
        Estimate(float(value), float(np.sqrt(variance)))
        for value, variance in zip(data.values, data.variances, strict=True)
    ]


def _evaluate(client: GatewayClient, task: Task, simulator: str) -> list[float]:
    job = EstimatorJob(
        circuits=circuits_to_qpy([task.circuit]),
        entries=[EstimatorEntry(_observables(task))],
        exact=True,
        qpu=simulator,
    )
    data = client.submit(job).result().entries[0].expectations
    return [float(value) for value in data.values]


def _observables(task: Task) -> list[Observable]:
    return [
        {label: float(coefficient.real) for label, coefficient in operator.to_list()}
        for operator in task.observables.values()
    ]
