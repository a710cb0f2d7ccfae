"""Cutting through the gateway against qiskit-addon-cutting, by CPU time and by CPU × variance.

Both sides take the circuit, the cuts and the observables, and end with expectation values. Ours
runs through a gateway process and its warm worker, whose CPU time counts with that of all their
children; the baseline runs in this process with Aer's own sampler: (i) as its documentation shows,
(ii) the same with identical subexperiments run once and their results copied.

`cpu_ratio_*`: CPU seconds of (i) over ours at 1,024 shots for every circuit on either side.
`efficiency_ratio_*`: CPU seconds × mean squared error of the observables. Ours spends the same
shots, 1,024 times its number of circuits, by its pilot and allocation, and its error comes from
repeated runs with different seeds. The baseline's error comes from repeated draws of every
subexperiment's outcomes from its exact distribution, since running it a hundred times would take
hours; the addon's formula is evaluated on them as arrays.
"""

import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import psutil

from kubeqpu.client import GatewayClient
from kubeqpu.cutting import plan
from kubeqpu.cutting import run as run_plan
from kubeqpu.cutting.gateway import GatewayExecutor
from kubeqpu.cutting.plans import Plan
from kubeqpu.cutting.running import PILOT
from tests.benchmarks.cutting_baseline import DRAWS, Draws, measure_cpu
from tests.benchmarks.cutting_cases import CASES, SHOTS, Case
from tests.benchmarks.report import Raw, Report
from tests.support.gateway import GatewayProcess

REPEATS = 5
ERROR_RUNS = 40
BATCH_SECONDS = 0.4
SLOW_SECONDS = 3.0
CONDITIONS = {
    "shots": f"{SHOTS} per circuit on both sides; ours divides that budget with a pilot of {PILOT}"
    " for the efficiency ratios and evenly for the CPU ratios",
    "cpu": "user and system time of client, gateway, workers and their ended children; Aer on one "
    "thread; workers warm; planning with the same cuts included",
    "repeats": f"median of {REPEATS}; baselines above {SLOW_SECONDS} s run once",
    "error": f"ours: {ERROR_RUNS} runs with different seeds through the gateway; baselines: "
    f"{DRAWS} draws of all subexperiments from their exact distributions",
    "baseline": "qiskit-addon-cutting with all samples, level 1 for an abstract basis, Aer's "
    "SamplerV2, reconstruct_expectation_values; deduped: identical QPY runs once",
}


@dataclass(frozen=True)
class OurCost:
    """What a case costs through the gateway; CPU in seconds."""

    circuits: int
    shots: int
    kappa_squared: float
    cpu: float
    cpu_with_pilot: float
    mean_squared_error: float
    cpu_each: list[float]
    cpu_with_pilot_each: list[float]
    runs_per_reading: int


@dataclass(frozen=True)
class TheirCost:
    """What a case costs with a baseline; CPU in seconds."""

    circuits: int
    cpu: float
    mean_squared_error: float
    cpu_each: list[float]

    @property
    def cost(self) -> float:
        """CPU time × variance."""
        return self.cpu * self.mean_squared_error


class Meter:
    """CPU time of this process and of a gateway with everything it started."""

    def __init__(self, gateway: GatewayProcess) -> None:
        self._own = psutil.Process()
        self._gateway = psutil.Process(gateway.pid)

    def cpu_seconds(self) -> float:
        """CPU seconds of all of them so far, children that have ended included."""
        total = 0.0
        own = self._own.cpu_times()
        total += own.user + own.system
        for process in [self._gateway, *self._gateway.children(recursive=True)]:
            times = process.cpu_times()
            total += times.user + times.system
        gone = self._gateway.cpu_times()
        return total + gone.children_user + gone.children_system

    def peak_rss_mib(self) -> float:
        """Sum of the peaks of all processes."""
        peaks = []
        for process in [self._own, self._gateway, *self._gateway.children(recursive=True)]:
            status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
            peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
            peaks.append(int(peak.split()[1]) / 1024)
        return sum(peaks)


@contextmanager
def open_gateway() -> Iterator[tuple[GatewayClient, Meter]]:
    """Starts a gateway with one ideal simulator."""
    with tempfile.TemporaryDirectory(prefix="kq") as directory:
        qpus = [{"name": "sim", "provider": "aer"}]
        with (
            GatewayProcess(Path(directory), qpus=qpus) as gateway,
            GatewayClient(gateway.address) as client,
        ):
            yield client, Meter(gateway)


def make_plan(case: Case) -> Plan:
    """Plans a case with the cuts that the baseline uses."""
    return plan(
        case.marked, list(case.observables), 32, partition_labels=case.labels, max_cost=1e12
    )


def measure_ours(case: Case, client: GatewayClient, meter: Meter) -> OurCost:
    """Measures the CPU time and the error of a case through the gateway."""
    executor = GatewayExecutor(client)
    made = make_plan(case)
    exact = case.exact_values()
    assert np.allclose(run_plan(made, executor, exact=True).values, exact, atol=1e-9)
    shots = SHOTS * sum(made.rows)
    # CPU time is counted in ticks of 10 ms, so small cases run several times between readings.
    batch = max(1, round(BATCH_SECONDS / _cpu(case, executor, meter, range(3), 0.0)))
    even, learned = (
        [
            _cpu(case, executor, meter, range(batch * index, batch * (index + 1)), pilot)
            for index in range(REPEATS)
        ]
        for pilot in (0.0, PILOT)
    )
    errors = [
        run_plan(made, executor, shots=shots, seed=1000 + seed).values - exact
        for seed in range(ERROR_RUNS)
    ]
    return OurCost(
        circuits=sum(made.rows),
        shots=shots,
        kappa_squared=made.kappa_squared,
        cpu=statistics.median(even),
        cpu_with_pilot=statistics.median(learned),
        mean_squared_error=float(np.mean(np.square(errors))),
        cpu_each=even,
        cpu_with_pilot_each=learned,
        runs_per_reading=batch,
    )


def _cpu(case: Case, executor: GatewayExecutor, meter: Meter, seeds: range, pilot: float) -> float:
    """CPU seconds of a whole run, planning included, as the mean over some seeds."""
    began = meter.cpu_seconds()
    for seed in seeds:
        made = make_plan(case)
        run_plan(made, executor, shots=SHOTS * sum(made.rows), seed=seed, pilot=pilot)
    return (meter.cpu_seconds() - began) / len(seeds)


def measure_cold_start() -> dict[str, float]:
    """Measures a gateway's start and its first run together."""
    case = CASES["wire_10q_1_cut"]()
    began = time.monotonic()
    with open_gateway() as (client, meter):
        own = psutil.Process().cpu_times()
        before = own.user + own.system
        run_plan(make_plan(case), GatewayExecutor(client), shots=SHOTS * 40, seed=1)
        return {
            "wall_seconds": time.monotonic() - began,
            "cpu_seconds": meter.cpu_seconds() - before,
        }


def measure_all_ours() -> tuple[dict[str, OurCost], float]:
    """Runs every case on our side; returns costs by case and the peak memory."""
    ours = {}
    with open_gateway() as (client, meter):
        warm = CASES["wire_10q_1_cut"]()
        run_plan(make_plan(warm), GatewayExecutor(client), shots=SHOTS * 40, seed=1)
        for name, make in CASES.items():
            ours[name] = measure_ours(make(), client, meter)
            print(f"  {name}: ours {ours[name].cpu:.3f} CPU s", flush=True)
        return ours, meter.peak_rss_mib()


def measure_theirs(case: Case) -> dict[str, TheirCost]:
    """Measures the CPU time and the error of both baselines on a case."""
    draws = Draws(case)
    exact = case.exact_values()
    assert np.allclose(draws.exact_values(), exact, atol=1e-9)
    costs = {}
    for name, merge in (("documented", False), ("deduped", True)):
        seconds, values = measure_cpu(case, merge, 1)
        if seconds[0] < SLOW_SECONDS:
            more, values = measure_cpu(case, merge, REPEATS - 1)
            seconds += more
        error = draws.mean_squared_error(exact, merge)
        # What Aer drew is one sample of what the error is computed from.
        assert np.mean((values - exact) ** 2) < 10 * error
        circuits = draws.unique if merge else draws.circuits
        costs[name] = TheirCost(circuits, statistics.median(seconds), error, seconds)
    return costs


def run() -> Report:
    """Runs everything and compares."""
    cold = measure_cold_start()
    ours, peak = measure_all_ours()
    figures = {"peak_rss_mib": peak, "cold_start_cpu_seconds": cold["cpu_seconds"]}
    raw: dict[str, Raw] = {"cold_start": {**cold}, "ours": {}, "baseline": {}}
    ratios: dict[str, list[float]] = {"documented": [], "deduped": [], "cpu": []}
    raw["ours"] = {name: asdict(cost) for name, cost in ours.items()}
    theirs: dict[str, Raw] = {}
    for name, make in CASES.items():
        case, mine = make(), ours[name]
        if not case.baseline:
            figures[f"cpu_seconds_{name}"] = mine.cpu
            continue
        costs = measure_theirs(case)
        theirs[name] = {kind: asdict(cost) for kind, cost in costs.items()}
        for kind, cost in costs.items():
            ratios[kind].append(cost.cost / (mine.cpu_with_pilot * mine.mean_squared_error))
        ratios["cpu"].append(costs["documented"].cpu / mine.cpu)
        figures[f"cpu_ratio_{name}"] = ratios["cpu"][-1]
        figures[f"efficiency_ratio_{name}"] = ratios["documented"][-1]
        figures[f"efficiency_ratio_deduped_{name}"] = ratios["deduped"][-1]
        print(f"  {name}: CPU {ratios['cpu'][-1]:.1f}x", flush=True)
    figures["efficiency_ratio_geomean"] = statistics.geometric_mean(ratios["documented"])
    figures["efficiency_ratio_deduped_geomean"] = statistics.geometric_mean(ratios["deduped"])
    figures["cpu_ratio_geomean"] = statistics.geometric_mean(ratios["cpu"])
    raw["baseline"] = theirs
    return Report(figures, CONDITIONS, raw)
