"""The tasks a worker performs, by name."""

import json
from collections import OrderedDict
from collections.abc import Iterator
from typing import TypeVar

from kubeqpu.proto.v1 import gateway_pb2
from kubeqpu.qpu_gateway.errors import ProviderError
from kubeqpu.qpu_gateway.providers.base import Span
from kubeqpu.qpu_gateway.simulation.engine import Engine
from kubeqpu.qpu_gateway.simulation.engines import make_engine
from kubeqpu.qpu_gateway.simulation.estimator import run_estimator
from kubeqpu.qpu_gateway.simulation.fake_backends import load_fake_backend
from kubeqpu.qpu_gateway.simulation.jobs import LoadedJob
from kubeqpu.qpu_gateway.simulation.loading import load_circuits
from kubeqpu.qpu_gateway.simulation.sampler import run_sampler
from kubeqpu.qpu_gateway.simulation.simulators import available_devices
from kubeqpu.qpu_gateway.simulation.summaries import summarise
from kubeqpu.qpu_gateway.workers.frames import Frame
from kubeqpu.qpu_gateway.workers.limits import WorkerLimits

_Kept = TypeVar("_Kept")


class TaskRunner:
    """Performs tasks for one tenant and keeps what later tasks can use again."""

    def __init__(self, limits: WorkerLimits) -> None:
        self._limits = limits
        self._jobs: OrderedDict[str, LoadedJob] = OrderedDict()
        self._engines: OrderedDict[str, Engine] = OrderedDict()

    def run(self, request: Frame) -> Iterator[Frame]:
        """Performs one task and yields its results as they are ready.

        Raises:
            CircuitError: If the circuits are not acceptable or cannot run.
            ProviderError: If the task itself cannot be performed.
        """
        task = request.head["task"]
        if task == "inspect":
            yield self._inspect(request)
        elif task == "run":
            # Taken in before anything can fail: the pool counts on it from now on.
            engine, job = self._engine(request), self._job(request)
            yield from self._run(request, engine, job)
        elif task == "devices":
            yield Frame({"event": "result"}, json.dumps(available_devices()).encode())
        elif task == "device":
            device = load_fake_backend(str(request.head["backend"]))
            yield Frame({"event": "result"}, device.model_dump_json().encode())
        else:
            raise ProviderError(f"The worker knows no task {task!r}; this is a bug.")

    def _inspect(self, request: Frame) -> Frame:
        circuits = load_circuits(request.payload, self._limits)
        # Not `asdict`, whose deep copies take longer than the summaries themselves.
        summaries = [vars(summarise(circuit)) for circuit in circuits]
        return Frame({"event": "result"}, json.dumps(summaries).encode())

    def _run(self, request: Frame, engine: Engine, job: LoadedJob) -> Iterator[Frame]:
        key, spans = str(request.head["engine_key"]), request.head["spans"]
        assert isinstance(spans, list)
        wanted = [Span(*span) for span in spans]  # type: ignore[misc]
        run = run_sampler if job.spec.WhichOneof("kind") == "sampler" else run_estimator
        for chunk in run(job, engine, key, wanted):
            yield Frame({"event": "result"}, chunk.SerializeToString())

    def _engine(self, request: Frame) -> Engine:
        key, settings = str(request.head["engine_key"]), request.head.get("engine")
        if settings is not None:
            assert isinstance(settings, dict)
            self._engines[key] = make_engine(settings)
        return _latest(self._engines, key, self._limits.cached_jobs)

    def _job(self, request: Frame) -> LoadedJob:
        key = str(request.head["job"])
        if request.payload:
            spec = gateway_pb2.JobSpec.FromString(request.payload)
            self._jobs[key] = LoadedJob(spec, self._limits)
        return _latest(self._jobs, key, self._limits.cached_jobs)


def _latest(cache: OrderedDict[str, _Kept], key: str, capacity: int) -> _Kept:
    """Reads a cache that forgets what was used longest ago, as the pool's own record of it does."""
    cache.move_to_end(key)
    while len(cache) > capacity:
        cache.popitem(last=False)
    return cache[key]


def prepare_imports() -> None:
    """Imports what tasks need on first use, so that forked workers have it already.

    Builds pass managers, which reads Qiskit's plugins, but runs nothing: the process that forks
    must not start threads. (Building those of levels 2 and 3 does start one.)
    """
    from qiskit.transpiler import Target, generate_preset_pass_manager  # noqa: PLC0415

    for level in range(2):
        generate_preset_pass_manager(level, target=Target(num_qubits=2))
