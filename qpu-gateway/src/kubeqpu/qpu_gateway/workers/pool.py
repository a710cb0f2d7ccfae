"""The pool: warm worker processes, each serving one tenant in one role."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass

from pydantic import JsonValue, TypeAdapter

from kubeqpu.proto.v1 import gateway_pb2
from kubeqpu.qpu_gateway.circuits import CircuitSummary
from kubeqpu.qpu_gateway.providers.base import Batch
from kubeqpu.qpu_gateway.workers.forks import ForkServer
from kubeqpu.qpu_gateway.workers.frames import Frame
from kubeqpu.qpu_gateway.workers.limits import WorkerLimits
from kubeqpu.qpu_gateway.workers.process import Role, WorkerProcess
from kubeqpu.qpu_gateway.workers.registry import WorkerRegistry

_SUMMARIES = TypeAdapter(tuple[CircuitSummary, ...])


@dataclass(frozen=True)
class WorkerInfo:
    """A worker process: whom it serves, what it does, and its process id."""

    tenant: str
    role: Role
    pid: int


class WorkerPool:
    """Runs tasks in worker processes.

    A process never serves two tenants. A task that crashes, hangs or needs too much memory takes
    its own process with it and nothing else.
    """

    def __init__(self, limits: WorkerLimits | None = None) -> None:
        self.limits = limits or WorkerLimits()
        self._server: ForkServer | None = None
        self._starting = asyncio.Lock()
        self._registry = WorkerRegistry(self.limits)
        self._sweeper: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Starts the process from which workers are forked; idempotent.

        Raises:
            WorkerError: If it does not come up.
        """
        await self._running_server()
        if self._sweeper is None:
            self._sweeper = asyncio.create_task(self._end_idle_workers())

    @property
    def processes(self) -> tuple[WorkerInfo, ...]:
        """The worker processes there are now."""
        return tuple(
            WorkerInfo(worker.tenant, worker.role, worker.pid) for worker in self._registry.workers
        )

    async def inspect(self, tenant: str, qpy: bytes) -> tuple[CircuitSummary, ...]:
        """Loads a QPY payload in a worker and describes its circuits.

        Raises:
            CircuitError: If the payload is not acceptable.
            WorkerError: If the worker fails over it.
        """
        limit = self.limits.inspect_seconds
        work = self._perform(tenant, "inspect", Frame({"task": "inspect"}, qpy), limit)
        summaries: tuple[CircuitSummary, ...] = ()
        async with contextlib.aclosing(work) as frames:
            async for frame in frames:
                summaries = _SUMMARIES.validate_json(frame.payload)
        return summaries

    async def run(
        self, batch: Batch, engine: Mapping[str, JsonValue], engine_key: str
    ) -> AsyncGenerator[gateway_pb2.ResultChunk, None]:
        """Runs a batch in a worker of its tenant.

        Args:
            batch: What to run.
            engine: The provider's configuration of the simulation, as its engine reads it.
            engine_key: Changes whenever `engine` does; a worker gets each configuration once.

        Raises:
            CircuitError: If the circuits cannot run.
            WorkerError: If the worker fails over them.
        """
        spans: list[JsonValue] = [[span.entry, span.first_row, span.rows] for span in batch.spans]
        head: dict[str, JsonValue] = {
            "task": "run",
            "job": batch.job_id,
            "spans": spans,
            "engine_key": engine_key,
        }
        limit = self.limits.run_seconds
        work = self._perform(batch.tenant, "run", Frame(head), limit, (batch, engine))
        async with contextlib.aclosing(work) as frames:
            async for frame in frames:
                yield gateway_pb2.ResultChunk.FromString(frame.payload)

    async def load(self, head: Mapping[str, JsonValue]) -> bytes:
        """Runs a task of the gateway itself in a worker of its own and returns its payload.

        Raises:
            ProviderError: If the task refuses.
            WorkerError: If the worker fails over it.
        """
        payload = b""
        work = self._perform("", "load", Frame(dict(head)), self.limits.inspect_seconds)
        async with contextlib.aclosing(work) as frames:
            async for frame in frames:
                payload = frame.payload
        return payload

    async def close(self) -> None:
        """Ends all workers; tasks in progress fail."""
        if self._sweeper is not None:
            self._sweeper.cancel()
            await asyncio.gather(self._sweeper, return_exceptions=True)
        self._registry.close()
        if self._server is not None:
            await self._server.close()

    async def _perform(
        self,
        tenant: str,
        role: Role,
        request: Frame,
        limit_seconds: float,
        job: tuple[Batch, Mapping[str, JsonValue]] | None = None,
    ) -> AsyncGenerator[Frame, None]:
        worker = await self._worker(tenant, role, str(request.head.get("job", "")))
        try:
            if job is not None:
                request = self._with_job(worker, request, *job)
            work = worker.perform(request, limit_seconds, self.limits.memory_bytes)
            async with contextlib.aclosing(work) as frames:
                async for frame in frames:
                    yield frame
        finally:
            self._registry.give_back(worker)

    async def _worker(self, tenant: str, role: Role, job_id: str) -> WorkerProcess:
        worker = await self._registry.take(tenant, role, job_id)
        if worker is not None:
            return worker
        try:
            server = await self._running_server()
            worker = WorkerProcess(tenant, role, await server.fork(), server)
        except BaseException:
            self._registry.withdraw(role)
            raise
        self._registry.add(worker)
        return worker

    def _with_job(
        self, worker: WorkerProcess, request: Frame, batch: Batch, engine: Mapping[str, JsonValue]
    ) -> Frame:
        """Adds what the worker does not have yet: the job's spec and the engine's settings."""
        head, payload = dict(request.head), b""
        capacity = self.limits.cached_jobs
        if worker.remember("engine", str(head["engine_key"]), capacity):
            head["engine"] = dict(engine)
        if worker.remember("job", batch.job_id, capacity):
            payload = batch.spec.SerializeToString()
        return Frame(head, payload)

    async def _running_server(self) -> ForkServer:
        async with self._starting:
            if self._server is None or self._server.lost:
                if self._server is not None:
                    await self._server.close()
                self._server = ForkServer(self.limits)
                await self._server.start()
            return self._server

    async def _end_idle_workers(self) -> None:
        while True:
            await asyncio.sleep(min(self.limits.idle_seconds / 4, 30.0))
            self._registry.end_idle()
