"""Calls of Aer: circuits with parameter values in, arrays out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from qiskit_aer import AerSimulator
from qiskit_aer.noise import NoiseModel

from kubeqpu.qpu_gateway.errors import CircuitError, WorkerError


@dataclass(frozen=True)
class BoundCircuit:
    """A circuit to run once per row of its parameter values.

    Attributes:
        circuit: With its save instructions.
        columns: For each parameter of the circuit, its column in `values`.
        values: Of shape (rows, columns).
    """

    circuit: QuantumCircuit
    columns: Mapping[Parameter, int]
    values: NDArray[np.float64]


def simulator(
    method: str, threads: int, device: str = "CPU", noise: NoiseModel | None = None
) -> AerSimulator:
    """Configures Aer for one method.

    With a density matrix, gates and their noise are fused into channels of at most two qubits,
    which Aer does by itself only from 14 qubits on: 3.5 times as fast at 7 qubits.
    """
    options: dict[str, object] = {
        "method": method,
        "device": device,
        "max_parallel_threads": threads,
    }
    if noise is not None:
        options["noise_model"] = noise
    if method == "density_matrix":
        options |= {"fusion_threshold": 1, "fusion_max_qubit": 2}
        # Aer drops what acts on qubits that are not read any more, taking for granted that it
        # keeps the trace. Projections onto the outcome of a measurement do not.
        options |= {"enable_truncation": False}
    return AerSimulator(**options)


def available_devices() -> list[str]:
    """Lists what Aer can compute on here, such as CPU and GPU."""
    return list(AerSimulator().available_devices())


def run_saved(
    backend: AerSimulator, circuits: Sequence[BoundCircuit]
) -> list[list[dict[str, object]]]:
    """Runs circuits without shots.

    Returns:
        For each circuit, for each row, the saved data by label. A circuit without parameters runs
        once, and all its rows share the data.

    Raises:
        CircuitError: If Aer cannot run a circuit.
        MemoryError: If it needs too much memory.
    """
    runs = [1 if not bound.columns else len(bound.values) for bound in circuits]
    data: list[list[dict[str, object]]] = []
    # Aer wants values for all circuits or for none, so the two kinds run apart.
    results = iter(_run(backend, [c for c in circuits if c.columns]))
    constants = iter(_run(backend, [c for c in circuits if not c.columns]))
    for bound, count in zip(circuits, runs, strict=True):
        if bound.columns:
            data.append([next(results) for _ in range(count)])
        else:
            data.append([next(constants)] * len(bound.values))
    return data


def _run(backend: AerSimulator, circuits: list[BoundCircuit]) -> list[dict[str, object]]:
    if not circuits:
        return []
    binds = [
        {parameter: bound.values[:, column].tolist() for parameter, column in bound.columns.items()}
        for bound in circuits
    ]
    options = {"parameter_binds": binds} if any(binds) else {}
    result = backend.run([bound.circuit for bound in circuits], shots=1, **options).result()
    check_result(result)
    return [item.data.to_dict() for item in result.results]


def run_counts(
    backend: AerSimulator, circuit: QuantumCircuit, shots: int, seed: int
) -> dict[int, int]:
    """Lets Aer sample one circuit without parameters.

    Args:
        backend: Where.
        circuit: With measurements, all parameters bound.
        shots: How many.
        seed: Below 2^31.

    Returns:
        How often each value of the classical memory occurred; bit i is `circuit.clbits[i]`.

    Raises:
        CircuitError: If Aer cannot run the circuit.
        MemoryError: If it needs too much memory.
    """
    result = backend.run(circuit, shots=shots, seed_simulator=seed).result()
    check_result(result)
    counts = result.results[0].data.to_dict()["counts"]
    return {int(outcome, 16): int(count) for outcome, count in counts.items()}


def check_result(result: object) -> None:
    """Raises what a failed simulation means.

    Raises:
        CircuitError: If Aer cannot run the circuit.
        MemoryError: If it needs too much memory.
    """
    if getattr(result, "success", False):
        return
    statuses = [str(getattr(item, "status", "")) for item in getattr(result, "results", [])]
    text = "; ".join([str(getattr(result, "status", "")), *dict.fromkeys(statuses)])
    if "emory" in text or "bad_alloc" in text:
        raise MemoryError(text)
    if not statuses:
        raise WorkerError(f"Aer failed: {text}")
    raise CircuitError(f"Aer cannot run the circuit: {text[:300]}")
