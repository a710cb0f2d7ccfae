"""Templates compiled for sampling: either to exact distributions or to Aer's own sampling."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from qiskit_aer import AerSimulator

from kubeqpu.qpu_gateway.simulation.sampling import (
    Histogram,
    draw,
    flip_distribution,
    pack_indices,
)
from kubeqpu.qpu_gateway.simulation.simulators import BoundCircuit, run_counts

Saved = list[list[dict[str, object]]]
_LABEL = "probabilities"
# Wider distributions cost more than letting Aer sample.
MAX_DISTRIBUTION_BITS = 20


class Program(Protocol):
    """A template that can be sampled, row by row.

    Attributes:
        method: What computes it, as it is reported.
        backend: Aer, configured.
        cost: Rough number of complex amplitudes that one row touches.
    """

    @property
    def method(self) -> str: ...  # noqa: D102
    @property
    def backend(self) -> AerSimulator: ...  # noqa: D102
    @property
    def cost(self) -> int: ...  # noqa: D102

    def circuits(self, values: NDArray[np.float64]) -> list[BoundCircuit]:
        """Lists what has to be simulated without shots before rows can be sampled."""

    def histograms(
        self,
        saved: Saved,
        values: NDArray[np.float64],
        shots: Sequence[int],
        generators: Sequence[np.random.Generator],
    ) -> list[Histogram]:
        """Samples rows.

        Args:
            saved: What `circuits` gave, by circuit and row.
            values: Parameter values, of shape (rows, columns).
            shots: Of each row.
            generators: Of each row; they alone decide the samples.
        """


@dataclass(frozen=True)
class DistributionProgram:
    """Samples from exact probabilities, which Aer computes for all rows at once.

    Attributes:
        backend: Aer, configured.
        method: What computes it.
        cost: Rough number of complex amplitudes that one row touches.
        branches: One circuit per joint outcome of the measurements in the middle; each saves the
            joint probabilities of that outcome and the final measurements.
        columns: Column of each parameter.
        saved_clbits: Classical bits of the index bits of the saved probabilities, then of the index
            bits of the branches.
        num_clbits: Width of all registers.
        confusion: Readout error of each entry of `saved_clbits`.
    """

    backend: AerSimulator
    method: str
    cost: int
    branches: tuple[QuantumCircuit, ...]
    columns: Mapping[Parameter, int]
    saved_clbits: tuple[int, ...]
    num_clbits: int
    confusion: tuple[NDArray[np.float64] | None, ...]

    def circuits(self, values: NDArray[np.float64]) -> list[BoundCircuit]:
        """One circuit per branch."""
        return [BoundCircuit(circuit, self.columns, values) for circuit in self.branches]

    def histograms(
        self,
        saved: Saved,
        values: NDArray[np.float64],
        shots: Sequence[int],
        generators: Sequence[np.random.Generator],
    ) -> list[Histogram]:
        """Draws each row from its distribution."""
        probabilities = self.distributions(saved, len(values))
        clbits = tuple(sorted(self.saved_clbits))
        rows = []
        for row, (count, generator) in enumerate(zip(shots, generators, strict=True)):
            indices, counts = draw(probabilities[row], count, generator)
            rows.append(Histogram(pack_indices(indices, clbits, self.num_clbits), counts))
        return rows

    def distributions(self, saved: Saved, rows: int) -> NDArray[np.float64]:
        """Joins branches into distributions over read outcomes.

        Returns:
            Of shape (rows, 2^bits); index bit j is the j-th measured classical bit, ascending.
        """
        bits = len(self.saved_clbits)
        if not saved:
            return np.ones((rows, 1))
        joint = np.array([[row[_LABEL] for row in branch] for branch in saved])
        # Axes (branch, row, outcome) to (row, branch and outcome); the sum drops the one qubit that
        # is saved where no measurement is final.
        joint = joint.swapaxes(0, 1)
        if len(self.branches) << int(np.log2(joint.shape[2])) != 1 << bits:
            joint = joint.sum(axis=2, keepdims=True)
        joint = flip_distribution(np.ascontiguousarray(joint).reshape(rows, -1), self.confusion)
        order = sorted(range(bits), key=lambda bit: self.saved_clbits[bit])
        if order == list(range(bits)):
            return joint
        axes = [0] + [1 + bits - 1 - order[bits - 1 - axis] for axis in range(bits)]
        return joint.reshape((rows,) + (2,) * bits).transpose(axes).reshape(rows, -1)


@dataclass(frozen=True)
class SampledProgram:
    """Lets Aer sample each row with a seed of its own, where distributions would cost more.

    Attributes:
        backend: Aer, configured.
        method: What computes it.
        cost: Rough number of complex amplitudes that one row touches.
        circuit: With its measurements.
        columns: Column of each parameter.
    """

    backend: AerSimulator
    method: str
    cost: int
    circuit: QuantumCircuit
    columns: Mapping[Parameter, int]

    def circuits(self, values: NDArray[np.float64]) -> list[BoundCircuit]:
        """Nothing: all is done while sampling."""
        del values
        return []

    def histograms(
        self,
        saved: Saved,
        values: NDArray[np.float64],
        shots: Sequence[int],
        generators: Sequence[np.random.Generator],
    ) -> list[Histogram]:
        """Runs one row after another."""
        del saved
        width = (self.circuit.num_clbits + 7) // 8
        rows = []
        for row, (count, generator) in enumerate(zip(shots, generators, strict=True)):
            binding = {name: float(values[row, column]) for name, column in self.columns.items()}
            bound = self.circuit.assign_parameters(binding) if binding else self.circuit
            seed = int(generator.integers(2**31))
            counts = sorted(run_counts(self.backend, bound, count, seed).items())
            packed = b"".join(outcome.to_bytes(width, "big") for outcome, _ in counts)
            outcomes = np.frombuffer(packed, np.uint8).reshape(len(counts), width)
            rows.append(Histogram(outcomes, np.array([number for _, number in counts])))
        return rows


def save_probabilities(circuit: QuantumCircuit, qubits: Sequence[int]) -> None:
    """Makes a circuit save the joint probabilities of some qubits; index bit j is `qubits[j]`."""
    circuit.save_probabilities(list(qubits) or [0], label=_LABEL)
