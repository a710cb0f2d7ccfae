"""Runs a plan: pilot, allocation, execution, reconstruction."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import JsonValue
from qiskit.circuit import QuantumCircuit

from kubeqpu.cutting.allocation import (
    Shots,
    check_budget,
    divide_by_variance,
    divide_by_weight,
    divide_evenly,
)
from kubeqpu.cutting.contraction import Network
from kubeqpu.cutting.errors import ExecutionError, InvalidInputError
from kubeqpu.cutting.exact import exact_experiments
from kubeqpu.cutting.executors import (
    EstimatorEntry,
    EstimatorTask,
    Executor,
    SamplerAnswer,
    SamplerEntry,
    SamplerTask,
    Site,
)
from kubeqpu.cutting.experiments import (
    Experiments,
    FloatArray,
    IntArray,
    sampling_experiments,
)
from kubeqpu.cutting.fragments import dump_circuits
from kubeqpu.cutting.histograms import Histogram, ReadoutError, merge
from kubeqpu.cutting.plans import Plan
from kubeqpu.cutting.provenance import FragmentRun, write_provenance
from kubeqpu.cutting.reconstruction import (
    Estimates,
    FragmentSamples,
    exact_tensor,
    reconstruct,
    reconstruct_exact,
)

PILOT = 0.1


@dataclass(frozen=True)
class Result:
    """Expectation values of a plan's observables.

    Attributes:
        names: The observables.
        values: Shape (observables,).
        standard_errors: Shape (observables,): statistical only, what shots explain and nothing
            else; 0 in exact mode.
        provenance: Where the values come from, as plain data; see `provenance.to_json`.
    """

    names: tuple[str, ...]
    values: FloatArray
    standard_errors: FloatArray
    provenance: Mapping[str, JsonValue]


def run(
    plan: Plan,
    executor: Executor,
    shots: int | None = None,
    seed: int = 0,
    *,
    exact: bool = False,
    pilot: float = PILOT,
    readout_mitigation: bool = False,
) -> Result:
    """Runs a plan and puts the result together.

    Args:
        plan: What to run.
        executor: What runs it.
        shots: Budget in all, over all fragments; not with `exact`.
        seed: Fixes everything random on simulators.
        exact: Exact expectation values, on noiseless simulators.
        pilot: Share of the budget that is spent first, to learn where the rest is needed; 0 gives
            every row the same shots in a single round.
        readout_mitigation: Corrects readout errors by the calibration's confusion of each qubit;
            error bars grow accordingly.

    Raises:
        BudgetError: If there are too few shots.
        InvalidInputError: If the arguments contradict each other.
        ExecutionError: If a fragment cannot run.
    """
    if exact:
        if shots is not None or readout_mitigation:
            raise InvalidInputError("Exact values take neither shots nor readout mitigation.")
        return _run_exact(plan, executor, seed)
    if shots is None or shots < 1:
        raise InvalidInputError(f"shots is {shots}. Give the budget in all, or exact=True.")
    if not 0.0 <= pilot < 1.0:
        raise InvalidInputError(f"pilot is {pilot}. Give a share of the budget, from 0 to below 1.")
    sites = executor.choose_sites(plan, exact=False)
    experiments = [
        sampling_experiments(fragment, plan.cuts, site.deferred)
        for fragment, site in zip(plan.fragments, sites, strict=True)
    ]
    check_budget(experiments, shots)
    session = _Session(plan, executor, seed, experiments, sites, readout_mitigation)
    if pilot == 0.0:
        session.measure(divide_evenly(experiments, shots))
    else:
        session.measure(
            divide_by_weight(experiments, plan.fragments, plan.cuts, round(pilot * shots))
        )
        learned = session.reconstruct()
        session.measure(
            divide_by_variance(experiments, learned.contributions, session.shots(), shots)
        )
    spent = [sum(int(counts.sum()) for counts in parts) for parts in session.shots()]
    runs = [
        FragmentRun(site, item.rows, count, answers)
        for site, item, count, answers in zip(
            sites, experiments, spent, session.answers, strict=True
        )
    ]
    return _result(plan, session.reconstruct(), seed, runs, exact=False)


def fragment_seed(seed: int, fragment: int, round_number: int) -> int:
    """Derives the seed of one job; never from content, so that equal fragments are independent."""
    text = f"kubeqpu-cutting/{seed}/{fragment}/{round_number}".encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "little") >> 1


def _run_exact(plan: Plan, executor: Executor, seed: int) -> Result:
    sites = executor.choose_sites(plan, exact=True)
    experiments = [exact_experiments(fragment, plan.cuts) for fragment in plan.fragments]
    tasks = [
        EstimatorTask(
            index,
            sites[index].qpu,
            dump_circuits(item.templates),
            tuple(
                EstimatorEntry(block.template, block.parameters, block.observables)
                for block in item.blocks
            ),
        )
        for index, item in enumerate(experiments)
        if item.blocks
    ]
    answers = {
        task.fragment: answer for task, answer in zip(tasks, executor.evaluate(tasks), strict=True)
    }
    tensors = [
        exact_tensor(item, answers[index].values if index in answers else ())
        for index, item in enumerate(experiments)
    ]
    runs = [
        FragmentRun(site, item.rows, 0, [answers[index]] if index in answers else [])
        for index, (site, item) in enumerate(zip(sites, experiments, strict=True))
    ]
    return _result(plan, reconstruct_exact(plan, tensors), seed, runs, exact=True)


class _Session:
    """Collects rounds of measurements of all fragments."""

    def __init__(
        self,
        plan: Plan,
        executor: Executor,
        seed: int,
        experiments: Sequence[Experiments],
        sites: Sequence[Site],
        readout_mitigation: bool,
    ) -> None:
        self._plan, self._executor, self._seed = plan, executor, seed
        self._experiments, self._sites = experiments, sites
        self._mitigated = readout_mitigation
        self._network = Network(plan.cuts, plan.fragments)
        self._circuits = [
            dump_circuits(item.templates) if item.templates else b"" for item in experiments
        ]
        self._qubits = [
            tuple(_measured_qubits(template) for template in item.templates) for item in experiments
        ]
        blocks = [range(len(item.blocks)) for item in experiments]
        self._parts: list[list[list[Histogram]]] = [[[] for _ in numbers] for numbers in blocks]
        self._readout: list[dict[int, tuple[ReadoutError, ...]]] = [{} for _ in blocks]
        self.answers: list[list[SamplerAnswer]] = [[] for _ in blocks]
        self._round = 0

    def measure(self, shots: Shots) -> None:
        """Runs one round."""
        tasks, places = [], []
        for index, item in enumerate(self._experiments):
            entries, kept = _entries(item, shots[index])
            if entries:
                seed = fragment_seed(self._seed, index, self._round)
                tasks.append(
                    SamplerTask(
                        index,
                        self._sites[index].qpu,
                        self._circuits[index],
                        entries,
                        seed,
                        self._qubits[index],
                        self._mitigated,
                    )
                )
                places.append((index, kept))
        for (index, kept), answer in zip(places, self._executor.sample(tasks), strict=True):
            self._keep(index, kept, answer)
        self._round += 1

    def _keep(self, index: int, kept: list[tuple[int, IntArray]], answer: SamplerAnswer) -> None:
        if len(answer.histograms) != len(kept):
            raise ExecutionError(
                f"Fragment {index} was given {len(kept)} entries, but results of "
                f"{len(answer.histograms)} came back."
            )
        for entry, ((block, rows), histogram) in enumerate(
            zip(kept, answer.histograms, strict=True)
        ):
            part = Histogram(rows[histogram.rows], histogram.outcomes, histogram.counts)
            self._parts[index][block].append(part)
            if self._mitigated:
                self._readout[index].setdefault(block, answer.readout[entry])
        self.answers[index].append(answer)

    def shots(self) -> Shots:
        """Returns the shots of each row so far."""
        return [
            [
                merge(parts).shots(len(block.settings))
                for block, parts in zip(item.blocks, blocks, strict=True)
            ]
            for item, blocks in zip(self._experiments, self._parts, strict=True)
        ]

    def reconstruct(self) -> Estimates:
        """Puts together what was measured so far."""
        samples = []
        for blocks, readout in zip(self._parts, self._readout, strict=True):
            known = (
                tuple(readout[block] for block in range(len(blocks))) if self._mitigated else None
            )
            samples.append(FragmentSamples(tuple(merge(parts) for parts in blocks), known))
        return reconstruct(self._plan, self._experiments, samples, self._network)


def _entries(
    experiments: Experiments, shots: Sequence[IntArray]
) -> tuple[tuple[SamplerEntry, ...], list[tuple[int, IntArray]]]:
    """Writes the rows that get shots as entries, with the block and rows each stands for."""
    entries, kept = [], []
    for number, (block, counts) in enumerate(zip(experiments.blocks, shots, strict=True)):
        rows = np.flatnonzero(counts)
        if len(rows):
            entries.append(SamplerEntry(block.template, block.parameters[rows], counts[rows]))
            kept.append((number, rows))
    return tuple(entries), kept


def _measured_qubits(template: QuantumCircuit) -> tuple[int, ...]:
    found = {
        template.find_bit(item.clbits[0]).index: template.find_bit(item.qubits[0]).index
        for item in template.data
        if item.operation.name == "measure"
    }
    return tuple(found[bit] for bit in range(template.num_clbits))


def _result(
    plan: Plan, estimates: Estimates, seed: int, runs: Sequence[FragmentRun], exact: bool
) -> Result:
    names = tuple(observable.name for observable in plan.observables)
    provenance = write_provenance(plan, estimates, seed, runs, exact)
    return Result(names, estimates.values, estimates.standard_errors, provenance)
