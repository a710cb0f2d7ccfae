"""Runs a plan: pilot, allocation, execution, reconstruction."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from kubeqpu.cutting.allocation import (
    Shots,
    check_budget,
    divide_by_variance,
    divide_by_weight,
    divide_evenly,
)
from kubeqpu.cutting.contraction import Network
from kubeqpu.cutting.errors import InvalidInputError
from kubeqpu.cutting.exact import exact_experiments
from kubeqpu.cutting.executors import (
    EstimatorEntry,
    EstimatorTask,
    Executor,
)
from kubeqpu.cutting.experiments import (
    FloatArray,
    sampling_experiments,
)
from kubeqpu.cutting.fragments import dump_circuits
from kubeqpu.cutting.plans import Plan
from kubeqpu.cutting.provenance import FragmentRun, write_provenance
from kubeqpu.cutting.reconstruction import (
    Estimates,
    exact_tensor,
    reconstruct,
    reconstruct_exact,
)
from kubeqpu.cutting.rounds import FragmentRounds

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
    rounds = [
        FragmentRounds(index, item, site, seed, readout_mitigation)
        for index, (item, site) in enumerate(zip(experiments, sites, strict=True))
    ]
    network = Network(plan.cuts, plan.fragments)

    def evaluate() -> Estimates:
        return reconstruct(plan, experiments, [item.samples() for item in rounds], network)

    if pilot == 0.0:
        _measure(executor, rounds, divide_evenly(experiments, shots))
    else:
        first = max(round(pilot * shots), 2 * sum(item.rows for item in experiments))
        _measure(executor, rounds, divide_by_weight(experiments, plan.fragments, plan.cuts, first))
        learned = evaluate().contributions
        measured = [item.shots() for item in rounds]
        _measure(executor, rounds, divide_by_variance(experiments, learned, measured, shots))
    return make_result(
        plan, evaluate(), seed, [describe_rounds(item) for item in rounds], exact=False
    )


def describe_rounds(rounds: FragmentRounds) -> FragmentRun:
    """Says how a fragment was run."""
    spent = sum(int(counts.sum()) for counts in rounds.shots())
    return FragmentRun(rounds.site, rounds.experiments.rows, spent, rounds.answers)


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
    return make_result(plan, reconstruct_exact(plan, tensors), seed, runs, exact=True)


def _measure(executor: Executor, rounds: Sequence[FragmentRounds], shots: Shots) -> None:
    """Runs one round of all fragments."""
    asked = [(item, item.ask(counts)) for item, counts in zip(rounds, shots, strict=True)]
    tasks = [(item, task) for item, task in asked if task is not None]
    answers = executor.sample([task for _, task in tasks])
    for (item, _), answer in zip(tasks, answers, strict=True):
        item.keep(answer)


def make_result(
    plan: Plan, estimates: Estimates, seed: int, runs: Sequence[FragmentRun], exact: bool
) -> Result:
    """Adds names and provenance to estimates."""
    names = tuple(observable.name for observable in plan.observables)
    provenance = write_provenance(plan, estimates, seed, runs, exact)
    return Result(names, estimates.values, estimates.standard_errors, provenance)
