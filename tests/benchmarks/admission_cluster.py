"""A real control plane with the real Kueue and our controller, and no node behind them."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from kubernetes.aio import client, config

from kubeqpu.common import api
from kubeqpu.common.requests import object_at, objects_at
from kubeqpu.kube.connection import spare_lookups
from kubeqpu.kube.objects import ObjectsAPI
from kubeqpu.kube.resources import JOBS, QPUS, WORKLOADS, Manifest, name_of, version_of
from tests.benchmarks import cpu
from tests.benchmarks.admission_objects import (
    CHECKS,
    LEASE,
    NAMESPACE,
    make_job,
    make_status,
    make_surroundings,
)
from tests.benchmarks.scheduler_cluster import in_parallel
from tests.cluster import processes
from tests.cluster.cluster import Cluster
from tests.cluster.controlplane import API_SERVER, CONTROLLER_MANAGER, ETCD, SCHEDULER
from tests.cluster.shell import wait_until
from tests.cluster.spec import ClusterSpec
from tests.support.kueue_process import kueue_process
from tools import crds

NAME = "bench-admission"


@dataclass
class Course:
    """When what happened to a Workload was seen, by `time.monotonic`.

    Attributes:
        job: Its Job.
        reserved: When quota was reserved.
        judged: When our check said Ready.
        admitted: When it was admitted.
    """

    job: str
    reserved: float | None = None
    judged: float | None = None
    admitted: float | None = None


@dataclass
class Bench:
    """The control plane under test.

    Attributes:
        objects: Its API server.
        cluster: The control plane.
        pids: The processes at work, by what they are.
        courses: What was seen of Workloads, by their Job.
        created: When each Job's creation was answered.
    """

    objects: ObjectsAPI
    cluster: Cluster
    pids: dict[str, int]
    courses: dict[str, Course] = field(default_factory=dict)
    created: dict[str, float] = field(default_factory=dict)
    _there: set[str] = field(default_factory=set)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def cpu_seconds(self) -> dict[str, float]:
        """Gives the CPU time that each process has used so far."""
        return cpu.read_seconds(self.pids)

    async def watch(self) -> None:
        """Notes what is seen of Workloads, until cancelled."""
        place = WORKLOADS.within(NAMESPACE)
        version = (await self.objects.list(place)).resource_version
        while True:
            async for event in self.objects.watch(place, version):
                version = version_of(event.object) or version
                if event.type == "DELETED":
                    self._there.discard(name_of(event.object))
                elif event.type != "BOOKMARK":
                    self._there.add(name_of(event.object))
                    self._note(event.object)
                self._changed.set()

    def _note(self, workload: Manifest) -> None:
        owners = objects_at(object_at(workload, "metadata"), "ownerReferences")
        job = next((str(owner.get("name")) for _, owner in owners), "")
        if not job:
            return
        now = asyncio.get_running_loop().time()
        course = self.courses.setdefault(job, Course(job))
        status = object_at(workload, "status")
        true = {
            one.get("type") for _, one in objects_at(status, "conditions")
            if one.get("status") == "True"
        }  # fmt: skip
        states = {one.get("state") for _, one in objects_at(status, "admissionChecks")}
        if "QuotaReserved" in true:
            course.reserved = course.reserved or now
        if "Ready" in states:
            course.judged = course.judged or now
        if "Admitted" in true:
            course.admitted = course.admitted or now

    async def create_jobs(self, jobs: list[str], queue: str, gated: bool = False) -> None:
        """Creates Jobs, some at a time."""
        await in_parallel(partial(self._create, make_job(job, queue, gated)) for job in jobs)

    async def _create(self, job: Manifest) -> None:
        self.created[name_of(job)] = asyncio.get_running_loop().time()
        await self.objects.create(JOBS.within(NAMESPACE), job, seconds=60)

    async def await_admitted(self, jobs: list[str], seconds: float = 180) -> None:
        """Waits until all these Jobs are admitted.

        Raises:
            TimeoutError: If they are not in time.
        """
        await self._until(
            lambda: all(job in self.courses and self.courses[job].admitted for job in jobs), seconds
        )

    async def await_workloads(self, jobs: list[str]) -> None:
        """Waits until all these Jobs have a Workload."""
        await self._until(lambda: all(job in self.courses for job in jobs), 60)

    async def _until(self, is_so: Callable[[], bool], seconds: float) -> None:
        async with asyncio.timeout(seconds):
            while not is_so():
                self._changed.clear()
                await self._changed.wait()

    async def set_ready(self, ready: bool) -> float:
        """Makes the QPU ready or not; gives when that was answered."""
        await self.objects.apply_status(QPUS, make_status(ready))
        return asyncio.get_running_loop().time()

    async def clear(self) -> None:
        """Deletes all Jobs and their Workloads, as the garbage collector would."""
        for kind in (JOBS, WORKLOADS):
            path = kind.within(NAMESPACE).path()
            await asyncio.to_thread(self.cluster.kubectl, "delete", f"--raw={path}", seconds=120)
        await self._until(lambda: not self._there, 120)


@contextmanager
def _controller(cluster: Cluster, folder: Path) -> Iterator[int]:
    environment = {
        "KUBEQPU_NAMESPACE": NAMESPACE,
        "KUBEQPU_LEASE": LEASE,
        "KUBEQPU_POD_NAME": "controller-0",
        "KUBEQPU_LEASE_DURATION_SECONDS": "3600",  # nobody renews the QPU's
        "KUBEQPU_HEALTH_PORT": "0",
        "KUBEQPU_METRICS_PORT": "0",
    }
    log = folder / "controller.log"
    with _process(cluster, log, "kubeqpu.admission", "controller", **environment) as pid:
        wait_until(lambda: "Lead taken" in log.read_text(), "the controller to lead", seconds=60)
        yield pid


@contextmanager
def _process(cluster: Cluster, log: Path, *module: str, **environment: str) -> Iterator[int]:
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", *module], stdin=subprocess.DEVNULL, stderr=out,
            env={**os.environ, "KUBECONFIG": str(cluster.kubeconfig), **environment},
        )  # fmt: skip
    try:
        yield process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)


def _prepare(cluster: Cluster) -> None:
    cluster.apply(*(crds.definition(kind) for kind in api.OBJECTS))
    defined = [f"crd/{kind.resource.name}" for kind in api.OBJECTS]
    cluster.kubectl("wait", "--for=condition=Established", *defined, "--timeout=30s")
    cluster.apply(*make_surroundings())


@asynccontextmanager
async def serve_bench() -> AsyncIterator[Bench]:
    """Brings all of it up; takes it down in the end."""
    cluster = Cluster(NAME)
    await asyncio.to_thread(cluster.down)  # what an interrupted run left
    await asyncio.to_thread(cluster.up, ClusterSpec(NAME, nodes=0))
    try:
        with kueue_process(cluster) as kueue, tempfile.TemporaryDirectory() as folder:
            await asyncio.to_thread(_prepare, cluster)
            log = Path(folder) / "null.log"
            with (
                _controller(cluster, Path(folder)) as controller,
                _process(cluster, log, "tests.benchmarks.null_check") as null,
            ):
                queues = [f"clusterqueue/{name}" for name in CHECKS]
                cluster.kubectl("wait", "--for=condition=Active", *queues, "--timeout=60s")
                # Jobs that are admitted would make pods that run nowhere.
                for process in (CONTROLLER_MANAGER, SCHEDULER):
                    processes.stop(cluster.layout, process)
                configuration = client.Configuration()
                path = str(cluster.kubeconfig)
                await config.load_kube_config(path, client_configuration=configuration)
                spare_lookups(configuration)
                async with client.ApiClient(configuration) as api_client:
                    pids = {
                        "kueue": kueue.process.pid, "kubeqpu": controller, "null check": null,
                        "bench": os.getpid(),
                    }  # fmt: skip
                    for name in (ETCD, API_SERVER):
                        if found := processes.find(cluster.layout, name):
                            pids[name] = found.pid
                    bench = Bench(ObjectsAPI(api_client, "bench"), cluster, pids)
                    watching = asyncio.create_task(bench.watch())
                    yield bench
                    watching.cancel()
    finally:
        await asyncio.to_thread(cluster.down)
