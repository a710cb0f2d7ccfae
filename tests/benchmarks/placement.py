"""Placement by score against blind choice, on generated traces, through the real functions.

A discrete-event replay: pods arrive, are bound to a QPU by a policy that sees what QPU objects
say, wait in the provider's queue with its other customers' jobs, and end. All policies replay the
same traces. What is drawn, and from what, stands in `placement_regimes` and in the report.
"""

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from pathlib import Path

from tests.benchmarks import placement_policies as policies
from tests.benchmarks import placement_regimes as model
from tests.benchmarks.placement_devices import Snapshot, read_snapshot, tabulate
from tests.benchmarks.placement_plot import draw
from tests.benchmarks.placement_regimes import REGIMES, TYPICAL, Regime
from tests.benchmarks.placement_replay import replay
from tests.benchmarks.placement_results import Standing, Summary, choose_point, compare, summarise
from tests.benchmarks.placement_traces import make_trace
from tests.benchmarks.report import Raw, Report

SEEDS = 6
TYPICAL_SEEDS = 16
PLOT = Path(__file__).parents[2] / "build" / "bench" / "placement.png"
SWEPT = (policies.KUBEQPU, *policies.SWEEP)
CONDITIONS = {
    "policies": "blind: any QPU with a free slot, by chance, as the default scheduler, which knows "
    "neither queues nor errors; least allocated: the one with most free slots; queue only and "
    "fidelity only: kubeqpu with that weight alone; kubeqpu: default weights; fidelity <n>: "
    "default weights but that one. Scores go through common.placement.place, are rounded to tenths "
    "of the best as for the scheduler, and equals are decided by free slots",
    "completion_time_reduction": "typical regime: 1 - mean completion time of kubeqpu with default "
    "weights / of blind choice; completion is from a pod's creation to its results",
    "fidelity_loss": "typical regime: 1 - mean fidelity of kubeqpu with default weights / of the "
    "choice by fidelity only",
    "at_3_percent_loss": "typical regime: the weights of the sweep with the shortest completion "
    "time among those that lose at most 3 %",
    "confidence": f"95 %, jackknife over {SEEDS} seeds, {TYPICAL_SEEDS} for the typical regime; "
    "a figure is a ratio of means over all seeds",
    "devices": "medians, spread over edges, times and coherence of fake backends of "
    "qiskit-ibm-runtime, read by the gateway's reader; speed of each QPU drawn with "
    f"σ(ln) {model.SPEED_SPREAD}",
    "pods": f"Poisson with a daily wave for 24 h; {model.MIN_WIDTH}-{model.MAX_WIDTH} qubits; "
    f"layers log-normal, median {model.MEDIAN_LAYERS:g}, σ {model.LAYERS_SPREAD}; two-qubit gates "
    f"= qubits × layers; circuits log-normal, median {model.MEDIAN_CIRCUITS:g}, σ "
    f"{model.CIRCUITS_SPREAD}; shots {model.SHOTS} with shares {model.SHOTS_SHARES}; half of the "
    "pods tell their shape, the others are ranked by the default shape; 1-3 s from binding to "
    "submission",
    "service": f"{model.JOB_SECONDS:g} s + speed × circuits × ({model.CIRCUIT_SECONDS} s + shots × "
    f"({model.RESET_SECONDS * 1e6:g} µs + measurement + 2 × layers × gate time)); one queue per "
    "QPU in the order of submission, shared with other customers, whose load follows the daily "
    "wave and wanders over hours (σ(ln) 0.5); the best QPU gets three times the others' load of "
    "the worst; a job that an outage interrupts goes on after it",
    "status": "polled once a second; written when a number changed by more than a tenth, else "
    "after 5 s; estimated wait = jobs at the provider × measured seconds per job + own circuits "
    "pending × measured seconds per circuit / slots, both learnt at a rate of 0.3; first guess "
    f"{model.FIRST_SERVICE_SECONDS:g} s per job, often wrong",
    "true_fidelity": "exp(-(drift × Σ over gates of -ln(1 - error of the edges laid out on) + "
    "√drift × the same for readout + idling qubits' T1 and T2 losses)); layout: best of "
    f"{model.LAYOUTS} random ones by calibration, its true edges differ with σ(ln) "
    f"{model.EDGE_SPREAD}; the score knows medians only",
    "drift": f"daily calibrations differ with σ(ln) {model.DAY_SPREAD}; in between the logarithm of"
    " errors rises 0.01 per hour with a random walk of 0.03 after one hour",
    "slots": "one node per QPU, 8 slots each; a pod without a free slot waits, first come first "
    "served",
}


def replay_all(
    task: tuple[Regime, int, Mapping[str, Snapshot], Sequence[policies.Policy]],
) -> dict[str, Summary]:
    """Replays one trace under every policy."""
    regime, seed, snapshots, chosen = task
    trace = make_trace(regime, seed, snapshots)
    return {policy.name: summarise(replay(trace, policy)) for policy in chosen}


def _replay_by_name(task: tuple[Regime, int, Mapping[str, Snapshot]]) -> dict[str, Summary]:
    # Policies are closures, which do not travel between processes.
    return replay_all((*task, policies.POLICIES))


def _measure(snapshots: Mapping[str, Snapshot]) -> dict[str, dict[str, Standing]]:
    seeds = {regime.name: TYPICAL_SEEDS if regime is TYPICAL else SEEDS for regime in REGIMES}
    tasks = [(regime, seed, snapshots) for regime in REGIMES for seed in range(seeds[regime.name])]
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        outcomes = iter(list(pool.map(_replay_by_name, tasks)))
    standings = {}
    for regime in REGIMES:
        rows = [next(outcomes) for _ in range(seeds[regime.name])]
        found = {name: [row[name] for row in rows] for name in rows[0]}
        standings[regime.name] = compare(found, policies.BLIND.name, policies.FIDELITY_ONLY.name)
    return standings


def _describe(regime: Regime, standings: Mapping[str, Standing]) -> Raw:
    parameters: dict[str, Raw] = {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in asdict(regime).items()
        if name not in ("name", "about")
    }
    point = choose_point([standings[policy.name] for policy in SWEPT])
    return {
        "about": regime.about,
        "parameters": parameters,
        "at_3_percent_loss": None if point is None else point.name,
        "policies": {name: standing.as_raw() for name, standing in standings.items()},
    }


def run() -> Report:
    """Replays every regime; takes about two minutes on two processors."""
    names = sorted({name for regime in REGIMES for name in regime.fleet})
    snapshots = {name: read_snapshot(name) for name in names}
    standings = _measure(snapshots)
    draw(REGIMES, standings, PLOT)
    typical = standings[TYPICAL.name]
    kubeqpu = typical[policies.KUBEQPU.name]
    figures = {
        "completion_time_reduction": kubeqpu.reduction.value,
        "completion_time_reduction_vs_fidelity_only": kubeqpu.reduction_vs_fidelity_only.value,
        "fidelity_loss": kubeqpu.loss.value,
    }
    point = choose_point([typical[policy.name] for policy in SWEPT])
    if point is not None:
        weight = next(policy.weights for policy in SWEPT if policy.name == point.name)
        assert weight is not None
        figures |= {
            "completion_time_reduction_at_3_percent_loss": point.reduction.value,
            "completion_time_reduction_at_3_percent_loss_vs_fidelity_only": (
                point.reduction_vs_fidelity_only.value
            ),
            "fidelity_loss_at_3_percent_loss": point.loss.value,
            "fidelity_weight_at_3_percent_loss": weight.fidelity,
        }
    raw: dict[str, Raw] = {
        "devices": tabulate(snapshots.values()),
        "regimes": {regime.name: _describe(regime, standings[regime.name]) for regime in REGIMES},
    }
    return Report(figures, CONDITIONS, raw)
