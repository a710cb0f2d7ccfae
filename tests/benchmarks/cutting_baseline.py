"""qiskit-addon-cutting as its documentation uses it, with or without running duplicates once."""

import hashlib
import io
import time
from collections.abc import Hashable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from qiskit import qpy
from qiskit.circuit import QuantumCircuit
from qiskit.primitives import PrimitiveResult
from qiskit.quantum_info import PauliList
from qiskit.transpiler import PassManager, generate_preset_pass_manager
from qiskit_addon_cutting import (
    cut_wires,
    expand_observables,
    generate_cutting_experiments,
    partition_problem,
    reconstruct_expectation_values,
)
from qiskit_addon_cutting.utils.observable_grouping import ObservableCollection
from qiskit_aer.primitives import SamplerV2

from tests.benchmarks.cutting_cases import SHOTS, Case
from tests.support.distributions import find_distribution

Array = npt.NDArray[np.float64]
BASIS = ["rz", "sx", "x", "cx"]
DRAWS = 100


@dataclass(frozen=True)
class Problem:
    """A partitioned case.

    Attributes:
        subcircuits: Circuit of each fragment.
        observables: Observables of each fragment.
    """

    subcircuits: Mapping[Hashable, QuantumCircuit]
    observables: Mapping[Hashable, PauliList]


def partition(case: Case) -> Problem:
    """Partitions a case as the addon's tutorials do."""
    circuit, observables = case.marked, PauliList(list(case.observables))
    if case.labels is None:
        circuit = cut_wires(case.marked)
        observables = expand_observables(observables, case.marked, circuit)
    found = partition_problem(circuit, case.labels, observables)
    return Problem(found.subcircuits, found.subobservables)


def run_baseline(case: Case, sampler: SamplerV2, passes: PassManager, merge: bool) -> Array:
    """Runs a case from circuit to expectation values.

    Args:
        case: What to run.
        sampler: Aer's sampler.
        passes: Transpilation at level 1.
        merge: Whether identical subexperiments run once and share their result.
    """
    problem = partition(case)
    experiments, coefficients = generate_cutting_experiments(
        problem.subcircuits, problem.observables, num_samples=np.inf
    )
    results = {}
    for label, circuits in experiments.items():
        places = find_duplicates(circuits) if merge else list(range(len(circuits)))
        firsts = sorted(set(places))
        found = sampler.run(passes.run([circuits[index] for index in firsts]), shots=SHOTS).result()
        numbers = {first: number for number, first in enumerate(firsts)}
        results[label] = PrimitiveResult([found[numbers[first]] for first in places])
    return np.array(reconstruct_expectation_values(results, coefficients, problem.observables))


def find_duplicates(circuits: list[QuantumCircuit]) -> list[int]:
    """Returns, per circuit, the first one that is identical, by the digest of its QPY."""
    seen: dict[bytes, int] = {}
    places = []
    for index, circuit in enumerate(circuits):
        bare = circuit.copy(name="circuit")
        buffer = io.BytesIO()
        qpy.dump(bare, buffer)
        places.append(seen.setdefault(hashlib.sha256(buffer.getvalue()).digest(), index))
    return places


def measure_cpu(case: Case, merge: bool, repeats: int) -> tuple[list[float], Array]:
    """Measures CPU seconds of whole runs; returns them with the last run's values."""
    options = {"max_parallel_threads": 1}
    sampler = SamplerV2(seed=1, options={"backend_options": options})
    passes = generate_preset_pass_manager(optimization_level=1, basis_gates=BASIS)
    seconds = []
    values = np.zeros(0)
    for _ in range(repeats):
        began = time.process_time()
        values = run_baseline(case, sampler, passes, merge)
        seconds.append(time.process_time() - began)
    return seconds, values


class Draws:
    """Repeated outcomes of every subexperiment, drawn from its exact distribution."""

    def __init__(self, case: Case) -> None:
        """Computes the distributions, once for each unique subexperiment."""
        problem = partition(case)
        experiments, coefficients = generate_cutting_experiments(
            problem.subcircuits, problem.observables, num_samples=np.inf
        )
        self._coefficients = np.array([coefficient for coefficient, _ in coefficients])
        self._problem = problem
        self._places: dict[Hashable, list[int]] = {}
        self._exact: dict[Hashable, Array] = {}
        for label, circuits in experiments.items():
            places = find_duplicates(circuits)
            firsts = sorted(set(places))
            numbers = {first: number for number, first in enumerate(firsts)}
            self._places[label] = [numbers[first] for first in places]
            self._exact[label] = np.array([find_distribution(circuits[i]) for i in firsts])
        self.circuits = sum(map(len, self._places.values()))
        self.unique = sum(map(len, self._exact.values()))

    def mean_squared_error(self, exact: Array, merge: bool) -> float:
        """Mean over draws and observables of the squared error."""
        generator = np.random.default_rng(3)
        errors = [np.mean((self._estimate(generator, merge) - exact) ** 2) for _ in range(DRAWS)]
        return float(np.mean(errors))

    def exact_values(self) -> Array:
        """The addon's formula on the exact distributions."""
        return self._estimate(None, merge=True)

    def _estimate(self, generator: np.random.Generator | None, merge: bool) -> Array:
        product: Array | None = None
        for label, observables in self._problem.observables.items():
            exact, places = self._exact[label], np.array(self._places[label])
            if generator is None:
                frequencies = exact[places]
            elif merge:
                frequencies = (generator.multinomial(SHOTS, exact) / SHOTS)[places]
            else:
                frequencies = generator.multinomial(SHOTS, exact[places]) / SHOTS
            means = read_means(frequencies, observables)
            product = means if product is None else product * means
        assert product is not None
        return np.asarray(self._coefficients @ product)


def read_means(frequencies: Array, observables: PauliList) -> Array:
    """Means of a fragment's observables in each term, as the addon computes them."""
    collection = ObservableCollection(observables)
    by_group = frequencies.reshape(-1, len(collection.groups), frequencies.shape[1])
    outcomes = np.arange(frequencies.shape[1])
    columns = []
    for observable in observables:
        parts = []
        for group, member in collection.lookup[observable]:
            mask = collection.groups[group].pauli_bitmasks[member] << 1 | 1
            signs = 1.0 - 2.0 * (np.bitwise_count(outcomes & mask) & 1)
            parts.append(by_group[:, group] @ signs)
        columns.append(np.mean(parts, axis=0))
    return np.array(columns).T
