"""Whether 10,000 pods get 10,000 slots, one each, while extender and scheduler are killed.

A real control plane with nodes and QPUs as API objects, with exactly as many slots as pods: one
that is given twice leaves a pod without, and shows. Pods are created as fast as the API server
takes them.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from kubeqpu.common import names
from kubeqpu.kube.errors import APIServerError
from kubeqpu.kube.resources import PODS, Manifest, name_of, version_of
from tests.benchmarks.report import Report
from tests.benchmarks.scheduler import RUN_NAME
from tests.benchmarks.scheduler_cluster import NAMESPACE, SLOTS, Fleet, serve_fleet
from tests.cluster import processes
from tests.cluster.cluster import Cluster
from tests.cluster.controlplane import SCHEDULER
from tests.cluster.state import free_port
from tests.support.extender_process import extender_process, free_ports
from tools import chart

NODES = 1_250
PODS_CREATED = NODES * SLOTS
RUN_SECONDS = 600.0
SEED = 20261123
# Between two kills; what is killed is back after a second or two.
PAUSE_SECONDS = (4.0, 10.0)
# A scheduler that was killed leads again when its lease is over, so most kills are of the extender.
KILLS_PER_SCHEDULER = 4


@dataclass
class Bindings:
    """What a watch tells of pods' nodes.

    Attributes:
        nodes: The node of each pod, as it was first told.
        moved: Pods whose node was another one later.
    """

    nodes: dict[str, str] = field(default_factory=dict)
    moved: set[str] = field(default_factory=set)

    def note(self, pod: Manifest) -> None:
        """Notes a pod as it is now."""
        spec = pod.get("spec")
        node = spec.get("nodeName") if isinstance(spec, dict) else None
        if node and self.nodes.setdefault(name_of(pod), str(node)) != node:
            self.moved.add(name_of(pod))


def configure(cluster: Cluster, port: int) -> Path:
    """Writes the chart's configuration of the scheduler, for processes outside of pods.

    Its lease counts: while another may lead, bindings of the one before it may still come.
    """
    (found,) = (
        item
        for item in yaml.safe_load_all(chart.render())
        if item and item["kind"] == "ConfigMap" and item["metadata"]["name"] == "kubeqpu-scheduler"
    )
    document = yaml.safe_load(found["data"]["config.yaml"])
    document["clientConnection"]["kubeconfig"] = str(cluster.layout.kubeconfig_of(SCHEDULER))
    document["leaderElection"]["resourceNamespace"] = NAMESPACE
    # Else it is the control plane's own, which this kubeconfig's user may have.
    document["leaderElection"]["resourceName"] = "kube-scheduler"
    for extender in document["extenders"]:
        extender["urlPrefix"] = f"http://127.0.0.1:{port}"
    path = cluster.layout.root / "scheduler-churn.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


class Processes:
    """The extender and the scheduler under test, which can be killed and started again."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._ports = free_ports()
        config = configure(fleet.cluster, self._ports[0])
        self._command = [
            str(fleet.cluster.layout.bin / SCHEDULER), f"--config={config}",
            "--bind-address=127.0.0.1", f"--secure-port={free_port('127.0.0.1', set())}",
        ]  # fmt: skip
        self._extender = ExitStack()
        self.kills: Counter[str] = Counter()

    def start(self) -> None:
        """Starts both."""
        self._start_extender()
        self._start_scheduler()

    def kill_extender(self) -> None:
        """Kills the extender and starts it again."""
        self._extender.close()
        self._start_extender()
        self.kills["extender"] += 1

    def kill_scheduler(self) -> None:
        """Kills the scheduler and starts it again."""
        processes.stop(self._fleet.cluster.layout, RUN_NAME, grace_seconds=0)
        self._start_scheduler()
        self.kills["scheduler"] += 1

    def end(self) -> None:
        """Ends both."""
        processes.stop(self._fleet.cluster.layout, RUN_NAME, grace_seconds=0)
        self._extender.close()

    def _start_extender(self) -> None:
        kubeconfig = self._fleet.cluster.kubeconfig
        # Its context kills it.
        self._extender.enter_context(extender_process(kubeconfig, ports=self._ports))

    def _start_scheduler(self) -> None:
        processes.start(self._fleet.cluster.layout, RUN_NAME, self._command)


async def follow(fleet: Fleet, version: str, bindings: Bindings) -> None:
    """Notes bindings until all pods have a node."""
    while len(bindings.nodes) < PODS_CREATED:
        async for event in fleet.objects.watch(PODS.within(NAMESPACE), version):
            version = version_of(event.object) or version
            bindings.note(event.object)
            if len(bindings.nodes) == PODS_CREATED:
                return


async def kill_now_and_then(running: Processes) -> None:
    """Kills the extender, and now and then the scheduler, until cancelled."""
    chance = random.Random(SEED)
    for number in itertools.count(1):
        await asyncio.sleep(chance.uniform(*PAUSE_SECONDS))
        scheduler = number % KILLS_PER_SCHEDULER == 0
        kill = running.kill_scheduler if scheduler else running.kill_extender
        await asyncio.to_thread(kill)


async def churn() -> tuple[Bindings, Counter[str], float, float]:
    """Places all pods; gives the bindings, the kills, and seconds to create and to place them."""
    bindings = Bindings()
    async with serve_fleet(NODES, NODES) as fleet:
        running = Processes(fleet)
        await asyncio.to_thread(running.start)
        try:
            listing = await fleet.objects.list(PODS.within(NAMESPACE), seconds=60)
            began = time.monotonic()
            killer = asyncio.create_task(kill_now_and_then(running))
            following = asyncio.create_task(follow(fleet, listing.resource_version, bindings))
            await fleet.create_pods(PODS_CREATED, names.SCHEDULER, selector=True)
            created = time.monotonic() - began
            try:
                async with asyncio.timeout(RUN_SECONDS):
                    await following
            except TimeoutError:
                print(f"  {PODS_CREATED - len(bindings.nodes)} pods without a node", flush=True)
            seconds = time.monotonic() - began
            killer.cancel()
            await asyncio.gather(killer, return_exceptions=True)
            await look_again(fleet, bindings)
        finally:
            await asyncio.to_thread(running.end)
    return bindings, running.kills, created, seconds


async def look_again(fleet: Fleet, bindings: Bindings) -> None:
    """Notes where all pods are in the end, whatever the watch told.

    Raises:
        APIServerError: If pods are not there any more.
    """
    listing = await fleet.objects.list(PODS.within(NAMESPACE), seconds=60)
    if len(listing.items) != PODS_CREATED:
        raise APIServerError(f"{len(listing.items)} pods are there, {PODS_CREATED} were created")
    for pod in listing.items:
        bindings.note(pod)


def run() -> Report:
    """Counts what went wrong, and measures how long it took."""
    bindings, kills, created, seconds = asyncio.run(churn())
    pods_on = Counter(bindings.nodes.values())
    figures = {
        "pods": float(PODS_CREATED),
        "pods_placed": float(len(bindings.nodes)),
        "pods_bound_twice": float(len(bindings.moved)),
        "nodes_overcommitted": float(sum(count > SLOTS for count in pods_on.values())),
        "extender_kills": float(kills["extender"]),
        "scheduler_kills": float(kills["scheduler"]),
        "seconds_to_create": created,
        "seconds_to_place": seconds,
        "pods_per_second": len(bindings.nodes) / seconds,
    }
    conditions = {
        "cluster": f"kube-apiserver, etcd and kube-scheduler with {NODES:,} Node objects of "
        f"{SLOTS} slots, each of a QPU of its own; no kubelet, no controller manager",
        "pods": f"{PODS_CREATED:,} pods that ask for one {names.RESOURCE_QPU}, created as fast as "
        "the API server takes them, while they are placed",
        "scheduler": "the chart's configuration, with its lease: one that was killed leads again "
        "when the lease is over, 15 s later",
        "kills": f"extender, every {KILLS_PER_SCHEDULER}th time scheduler, by SIGKILL, every "
        f"{PAUSE_SECONDS[0]:g} to {PAUSE_SECONDS[1]:g} s after the last was back, seed {SEED}",
    }
    return Report(figures, conditions)
