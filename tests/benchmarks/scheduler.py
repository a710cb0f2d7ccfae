"""What placing pods by QPU costs: kube-scheduler with kubeqpu and without, on the same pods.

A real control plane with 5,000 nodes and 1,000 QPUs as API objects. Pods are created first; then a
scheduler is started, and the time from its first to its last bind is taken. Variants take turns,
so that what else the machine does meets all of them alike.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from prometheus_client.parser import text_string_to_metric_families

from kubeqpu.common import names
from kubeqpu.scheduler_extender.explainer import LONGEST_DELAY_SECONDS
from tests.benchmarks import cpu, scheduler_calls
from tests.benchmarks.report import Raw, Report
from tests.benchmarks.scheduler_cluster import NAMESPACE, Fleet, serve_fleet
from tests.cluster import processes
from tests.cluster.cluster import Cluster
from tests.cluster.controlplane import API_SERVER, ETCD, SCHEDULER
from tests.cluster.state import free_port
from tests.support.extender_process import ExtenderProcess, extender_process

NODES, QPUS, PODS, ROUNDS = 5_000, 1_000, 1_000, 5
RUN_SECONDS = 180.0
RUN_NAME = "kube-scheduler-bench"
# Of the scheduler's own client; its default, 50/100, would be what is measured.
CLIENT_QPS, CLIENT_BURST = 1_000, 2_000
EXTENDER_WEIGHT = 100
METRICS = f"{names.METRIC_PREFIX}scheduler_extender_"


@dataclass(frozen=True)
class Variant:
    """One way to schedule the same pods.

    Attributes:
        name: In the report.
        extender: Which extender is asked: ours, the cheapest there can be, or none.
        selector: Whether pods carry the webhook's node selector.
    """

    name: str
    extender: Literal["kubeqpu", "null", ""]
    selector: bool


STOCK = Variant("stock", "", selector=False)
INSTALLED = Variant("kubeqpu as installed", "kubeqpu", selector=True)
ALONE = Variant("extender alone", "kubeqpu", selector=False)
SELECTOR = Variant("node selector alone", "", selector=True)
NULL = Variant("null extender alone", "null", selector=False)
NULL_SELECTOR = Variant("null extender and node selector", "null", selector=True)
VARIANTS = (STOCK, INSTALLED, ALONE, SELECTOR, NULL, NULL_SELECTOR)


def configure(cluster: Cluster, port: int | None) -> Path:
    """Writes the scheduler's configuration, with an extender at a port or without."""
    extender = {
        "urlPrefix": f"http://127.0.0.1:{port}",
        "filterVerb": "filter",
        "prioritizeVerb": "prioritize",
        "preemptVerb": "preempt",
        "weight": EXTENDER_WEIGHT,
        "nodeCacheCapable": True,
        "httpTimeout": "1s",
        "ignorable": False,
    }
    document = {
        "apiVersion": "kubescheduler.config.k8s.io/v1",
        "kind": "KubeSchedulerConfiguration",
        "clientConnection": {
            "kubeconfig": str(cluster.layout.kubeconfig_of(SCHEDULER)),
            "qps": CLIENT_QPS,
            "burst": CLIENT_BURST,
        },
        "leaderElection": {"leaderElect": False},
        "profiles": [{"schedulerName": names.SCHEDULER, "percentageOfNodesToScore": 100}],
        "extenders": [extender] if port is not None else [],
    }
    path = cluster.layout.root / f"scheduler-{'extended' if port else 'stock'}.json"
    path.write_text(json.dumps(document))
    return path


@contextmanager
def scheduler(cluster: Cluster) -> Iterator[None]:
    """Ends the scheduler under test, however the run ends."""
    try:
        yield
    finally:
        processes.stop(cluster.layout, RUN_NAME, grace_seconds=3)


@dataclass(frozen=True)
class Run:
    """How fast the pods were placed once.

    Attributes:
        rate: Pods per second between the first and the last bind.
        explained_seconds: From the last bind until all pods are explained.
        cpu: CPU time by process in ms per pod, between the first and the last bind.
    """

    rate: float
    explained_seconds: float
    cpu: dict[str, float]


@dataclass(frozen=True)
class Extender:
    """An extender that runs.

    Attributes:
        port: Where it is asked.
        pid: Its process.
    """

    port: int
    pid: int


@contextmanager
def null_extender() -> Iterator[Extender]:
    """Runs the cheapest extender while the context is open."""
    port = free_port("127.0.0.1", set())
    command = [sys.executable, "-m", "tests.benchmarks.null_extender", str(port)]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL) as process:
        try:
            yield Extender(port, process.pid)
        finally:
            process.kill()


async def measure(fleet: Fleet, variant: Variant, extender: Extender | None) -> Run:
    """Schedules the pods once."""
    cluster = fleet.cluster
    config = configure(cluster, extender.port if extender else None)
    port = free_port("127.0.0.1", set())
    command = [
        str(cluster.layout.bin / SCHEDULER), f"--config={config}", "--bind-address=127.0.0.1",
        f"--secure-port={port}",
    ]  # fmt: skip
    readings: list[dict[str, float]] = []

    def read_cpu() -> None:
        at_work = {"bench": os.getpid()} | ({"extender": extender.pid} if extender else {})
        for name in (ETCD, API_SERVER, RUN_NAME):
            if found := processes.find(cluster.layout, name):
                at_work[name] = found.pid
        readings.append(cpu.read_seconds(at_work))

    await fleet.create_pods(PODS, names.SCHEDULER, variant.selector)
    try:
        with scheduler(cluster):
            times = await fleet.time_binds(
                PODS,
                lambda: processes.start(cluster.layout, RUN_NAME, command),
                read_cpu,
                RUN_SECONDS,
            )
            explains = variant.extender == "kubeqpu"
            waited = await fleet.await_explained(RUN_SECONDS) if explains else 0.0
    finally:
        await fleet.delete_pods()
    rate = (PODS - 1) / (times[-1] - times[0])
    return Run(rate, waited, cpu.per_item(readings[0], readings[1], PODS - 1))


async def compare() -> tuple[dict[str, list[Run]], float]:
    """Measures all variants in turn; gives what they reached, and node names per call."""
    runs: dict[str, list[Run]] = {variant.name: [] for variant in VARIANTS}
    async with serve_fleet(NODES, QPUS) as fleet:
        with extender_process(fleet.cluster.kubeconfig) as ours, null_extender() as null:
            extenders = {"kubeqpu": Extender(ours.port, ours.process.pid), "null": null}
            for number in range(ROUNDS + 1):
                for variant in VARIANTS:
                    found = await measure(fleet, variant, extenders.get(variant.extender))
                    if number:  # the first round warms caches
                        runs[variant.name].append(found)
                    used = ", ".join(f"{name} {ms:.1f}" for name, ms in found.cpu.items())
                    print(f"  round {number}: {variant.name}: {found.rate:.1f} pods/s, explained "
                          f"after {found.explained_seconds:.1f} s; CPU ms per pod: {used}",
                          flush=True)  # fmt: skip
            return runs, count_names(ours)


def count_names(extender: ExtenderProcess) -> float:
    """Tells how many node names came with a filter request on average."""
    text = extender.read(extender.metrics_port, "metrics")
    found = {
        (sample.name.removeprefix(METRICS), sample.labels.get("code", "")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.labels.get("verb") == "filter"
    }
    return found["nodes_total", ""] / found["requests_total", "200"]


def ratio(rates: dict[str, list[float]], variant: Variant, base: Variant = STOCK) -> float:
    """Gives the median, over rounds, of a variant's rate to another's in the same round."""
    pairs = zip(rates[variant.name], rates[base.name], strict=True)
    return statistics.median(one / other for one, other in pairs)


def cpu_per_pod(runs: dict[str, list[Run]], variant: Variant, process: str) -> float:
    """Gives the median, over rounds, of a process's CPU time in ms per pod."""
    return statistics.median(one.cpu[process] for one in runs[variant.name])


def run() -> Report:
    """Measures throughput on a control plane, and single calls at 5,000 names."""
    runs, names_per_call = asyncio.run(compare())
    rates = {name: [one.rate for one in found] for name, found in runs.items()}
    explained = [one.explained_seconds for one in runs[INSTALLED.name]]
    calls = scheduler_calls.measure_calls()
    figures = {
        "throughput_ratio": ratio(rates, INSTALLED),
        "extender_alone_ratio": ratio(rates, ALONE),
        "selector_alone_ratio": ratio(rates, SELECTOR),
        "null_extender_alone_ratio": ratio(rates, NULL),
        "null_extender_installed_ratio": ratio(rates, NULL_SELECTOR),
        "alone_to_null_ratio": ratio(rates, ALONE, NULL),
        "installed_to_null_ratio": ratio(rates, INSTALLED, NULL_SELECTOR),
        "extender_cpu_ms_per_pod": cpu_per_pod(runs, INSTALLED, "extender"),
        "null_extender_cpu_ms_per_pod": cpu_per_pod(runs, NULL_SELECTOR, "extender"),
        "names_per_call": names_per_call,
        "explained_after_seconds": statistics.median(explained),
        **{f"pods_per_second_{key}": statistics.median(found) for key, found in rates.items()},
        **calls.figures,
    }
    conditions = {
        "cluster": f"kube-apiserver, etcd and kube-scheduler with {NODES:,} Node objects, "
        f"{QPUS:,} of them with 8 slots each, and {QPUS:,} QPU objects; no kubelet, no "
        "controller manager",
        "pods": f"{PODS} pods that ask for one {names.RESOURCE_QPU}, in namespace {NAMESPACE}, "
        "created before the scheduler starts; rate from the first to the last bind as a watch "
        "sees them; explained: from the last bind until every pod carries its explanation, "
        f"which waits for {LONGEST_DELAY_SECONDS:.0f} s at most while pods are placed",
        "rounds": f"{ROUNDS} after one to warm up; variants take turns; ratios are medians over "
        "rounds",
        "scheduler": f"client {CLIENT_QPS}/{CLIENT_BURST} requests/s, percentageOfNodesToScore "
        f"100, extender weight {EXTENDER_WEIGHT}; kubeqpu as installed: filter, prioritize "
        "and preempt verbs, explanations, and the node selector that the webhook sets",
        "null extender": "the cheapest in Python: gives the first 64 names it is asked about, all "
        "of them equal, and looks at nothing else; what is left is what any extender costs",
        **calls.conditions,
    }
    raw: dict[str, Raw] = {"pods_per_second": {key: [*found] for key, found in rates.items()}}
    raw["cpu_ms_per_pod"] = {key: [{**one.cpu} for one in found] for key, found in runs.items()}
    return Report(figures, conditions, raw | calls.raw)
