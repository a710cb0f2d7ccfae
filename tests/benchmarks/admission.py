"""What our AdmissionCheck costs: the real Kueue with it and without, on the same Jobs in one run.

A real control plane without nodes. Jobs go through ClusterQueues with ample quota that differ in
the check alone: ours, one that agrees to everything without a look, and none. They take turns, so
that what else the machine does meets all alike.
"""

from __future__ import annotations

import asyncio
import statistics
from dataclasses import dataclass, field

from kubeqpu.common.names import GATE
from tests.benchmarks.admission_cluster import Bench, serve_bench
from tests.benchmarks.admission_objects import CHECKED, CHECKS, NULL, PLAIN
from tests.benchmarks.report import Raw, Report

JOBS, ROUNDS = 200, 5
SINGLE_JOBS = 50
FLIPS, GATED = 30, 10


@dataclass
class Measured:
    """All measurements, in seconds, or Jobs per second.

    Attributes:
        rates: Jobs admitted per second in each round, by queue.
        cpu: CPU seconds of each process for each Job, of each round, by queue and process.
        verdicts: From reserved quota to our verdict, as one watch sees them.
        latencies: From a Job's creation to its admission, one Job at a time, by queue.
        first: From a QPU's readiness to the first admission, of each flip.
        all: The same of every Job.
    """

    rates: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in CHECKS})
    cpu: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    verdicts: list[float] = field(default_factory=list)
    latencies: dict[str, list[float]] = field(default_factory=lambda: {CHECKED: [], PLAIN: []})
    first: list[float] = field(default_factory=list)
    all: list[float] = field(default_factory=list)


def percentile(found: list[float], share: float) -> float:
    """Gives the smallest value that a share of all do not exceed."""
    ordered = sorted(found)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


async def measure_rate(bench: Bench, queue: str, label: str, measured: Measured | None) -> None:
    """Admits many Jobs at once."""
    jobs = [f"{queue}-{label}-{number}" for number in range(JOBS)]
    before, began = bench.cpu_seconds(), asyncio.get_running_loop().time()
    await bench.create_jobs(jobs, queue)
    await bench.await_admitted(jobs)
    courses = [bench.courses[job] for job in jobs]
    last = max(course.admitted or 0.0 for course in courses)
    print(f"  round {label}: {queue}: {JOBS / (last - began):.1f} Jobs/s", flush=True)
    if measured is not None:
        measured.rates[queue].append(JOBS / (last - began))
        for name, seconds in bench.cpu_seconds().items():
            each = measured.cpu.setdefault(queue, {}).setdefault(name, [])
            each.append((seconds - before[name]) / JOBS)
    if measured is not None and queue == CHECKED:
        measured.verdicts += [
            course.judged - course.reserved
            for course in courses
            if course.judged is not None and course.reserved is not None
        ]
    await bench.clear()


async def measure_latency(bench: Bench, measured: Measured) -> None:
    """Admits Jobs one after the other, from both queues in turn."""
    for number in range(SINGLE_JOBS):
        for queue in (PLAIN, CHECKED):
            job = f"single-{queue}-{number}"
            await bench.create_jobs([job], queue)
            await bench.await_admitted([job])
            admitted = bench.courses[job].admitted or 0.0
            measured.latencies[queue].append(admitted - bench.created[job])
    await bench.clear()


async def measure_flips(bench: Bench, measured: Measured) -> None:
    """Has gated Jobs wait for a QPU, which becomes ready."""
    for number in range(FLIPS):
        await bench.set_ready(False)
        jobs = [f"gated-{number}-{one}" for one in range(GATED)]
        await bench.create_jobs(jobs, CHECKED, gated=True)
        await bench.await_workloads(jobs)
        await asyncio.sleep(1.0)  # what was said of them is written by then
        early = [job for job in jobs if bench.courses[job].reserved]
        if early:
            raise RuntimeError(f"Quota was reserved for {len(early)} Jobs that no QPU fits.")
        ready = await bench.set_ready(True)
        await bench.await_admitted(jobs)
        waits = sorted((bench.courses[job].admitted or 0.0) - ready for job in jobs)
        measured.first.append(waits[0])
        measured.all += waits
    await bench.clear()


async def measure() -> Measured:
    """Measures everything on one control plane."""
    measured = Measured()
    async with serve_bench() as bench:
        await bench.set_ready(True)
        for number in range(ROUNDS + 1):
            for queue in (PLAIN, NULL, CHECKED) if number % 2 else (CHECKED, NULL, PLAIN):
                # The first round warms caches.
                await measure_rate(bench, queue, str(number), measured if number else None)
        await measure_latency(bench, measured)
        await measure_flips(bench, measured)
    return measured


def run() -> Report:
    """Measures the check's cost, and how soon a QPU's readiness is felt."""
    found = asyncio.run(measure())

    def compare(one: str, other: str) -> float:
        pairs = zip(found.rates[one], found.rates[other], strict=True)
        return statistics.median(first / second for first, second in pairs)

    medians = {queue: statistics.median(each) for queue, each in found.latencies.items()}
    figures = {
        "admitted_rate_ratio": compare(CHECKED, PLAIN),
        "admitted_rate_ratio_of_null_check": compare(NULL, PLAIN),
        "admitted_rate_ratio_to_null_check": compare(CHECKED, NULL),
        "verdict_p50_ms": 1000 * percentile(found.verdicts, 0.5),
        "verdict_p99_ms": 1000 * percentile(found.verdicts, 0.99),
        "added_latency_p50_ms": 1000 * (medians[CHECKED] - medians[PLAIN]),
        "ready_to_first_admitted_p99_ms": 1000 * percentile(found.first, 0.99),
        "ready_to_admitted_p99_ms": 1000 * percentile(found.all, 0.99),
        **{f"jobs_per_second_{key}": statistics.median(each) for key, each in found.rates.items()},
    }
    conditions = {
        "cluster": "kube-apiserver and etcd, Kueue 0.19.2 with its webhooks and the chart's own "
        "client limits (300/500 requests/s), one kubeqpu controller, which runs in both variants; "
        "no node, no kube-controller-manager, no kube-scheduler",
        "rates": f"{ROUNDS} rounds after one to warm up, {JOBS} Jobs each, created 32 at a time; "
        "from before the first creation to the last Workload's condition Admitted, as a watch sees "
        f"it; {CHECKED}: the ClusterQueue has an AdmissionCheck of {GATE}; {NULL}: one of a "
        f"controller that agrees in one write without a look; {PLAIN}: none",
        "verdicts": "from the watch's event with QuotaReserved to that with our entry Ready, in "
        "the rounds above",
        "added latency": f"{SINGLE_JOBS} Jobs of each queue in turn, one at a time, from creation "
        "to Admitted; difference of the medians",
        "ready to admitted": f"{FLIPS} times {GATED} Jobs gated as the webhooks do it; from the "
        "answer to the write of the QPU's conditions to Admitted",
    }
    for queue, by_name in found.cpu.items():
        parts = (f"{name} {1000 * statistics.median(each):.1f}" for name, each in by_name.items())
        print(f"  CPU ms per Job, {queue}: {', '.join(parts)}", flush=True)
    raw: dict[str, Raw] = {
        "cpu_seconds_per_job": {
            queue: {name: [*each] for name, each in by_name.items()}
            for queue, by_name in found.cpu.items()
        },
        "jobs_per_second": {key: [*each] for key, each in found.rates.items()},
        "verdict_seconds": [*found.verdicts],
        "latency_seconds": {key: [*each] for key, each in found.latencies.items()},
        "ready_to_first_admitted_seconds": [*found.first],
        "ready_to_admitted_seconds": [*found.all],
    }
    return Report(figures, conditions, raw)
