"""Which workers there are, which are idle, and who waits for one."""

import asyncio

from kubeqpu.qpu_gateway.errors import WorkerError
from kubeqpu.qpu_gateway.workers.limits import WorkerLimits
from kubeqpu.qpu_gateway.workers.process import Role, WorkerProcess


class WorkerRegistry:
    """Hands out workers by tenant and role, within the limit of each role.

    All methods run on one event loop and change state without awaiting in between.
    """

    def __init__(self, limits: WorkerLimits) -> None:
        self._limits = limits
        self._capacity: dict[Role, int] = {
            "run": limits.max_workers,
            "inspect": limits.max_inspectors,
            "load": 1,
        }
        self._idle: list[WorkerProcess] = []
        self._busy: set[WorkerProcess] = set()
        self._starting: dict[Role, int] = {"run": 0, "inspect": 0, "load": 0}
        self._waiting: list[asyncio.Future[None]] = []
        self._closed = False

    async def take(self, tenant: str, role: Role, job_id: str) -> WorkerProcess | None:
        """Waits for a place and takes an idle worker, or None where one has to be started.

        Of the tenant's idle workers, one that knows the job is preferred. A place is made by ending
        the worker that has been idle the longest, whoever's it is.

        Raises:
            WorkerError: If the pool is closing.
        """
        while True:
            if self._closed:
                raise WorkerError("The gateway is shutting down; send the job again.")
            worker = self._pick_idle(tenant, role, job_id)
            if worker is not None:
                self._idle.remove(worker)
                self._busy.add(worker)
                return worker
            if self._make_place(role):
                self._starting[role] += 1
                return None
            freed = asyncio.get_running_loop().create_future()
            self._waiting.append(freed)
            await freed

    def add(self, worker: WorkerProcess) -> None:
        """Enters a worker that was started after `take` returned None."""
        self._starting[worker.role] -= 1
        self._busy.add(worker)

    def withdraw(self, role: Role) -> None:
        """Gives up the place of a worker that could not be started."""
        self._starting[role] -= 1
        self._wake()

    def give_back(self, worker: WorkerProcess) -> None:
        """Returns a worker after its task; one that did not finish it is ended."""
        self._busy.discard(worker)
        if worker.usable and not self._closed and worker.role != "load":
            worker.idle_since = asyncio.get_running_loop().time()
            self._idle.append(worker)
        else:
            worker.kill()
        self._wake()

    @property
    def workers(self) -> tuple[WorkerProcess, ...]:
        """All workers that were started and not ended by the pool."""
        return (*self._idle, *self._busy)

    def end_idle(self) -> None:
        """Ends workers that have been idle for longer than the limit."""
        oldest = asyncio.get_running_loop().time() - self._limits.idle_seconds
        for worker in [worker for worker in self._idle if worker.idle_since <= oldest]:
            self._idle.remove(worker)
            worker.kill()

    def close(self) -> None:
        """Ends all workers and turns away everyone who waits."""
        self._closed = True
        for worker in [*self._idle, *self._busy]:
            worker.kill()
        self._idle.clear()
        self._wake()

    def _pick_idle(self, tenant: str, role: Role, job_id: str) -> WorkerProcess | None:
        for worker in [worker for worker in self._idle if not worker.usable]:
            self._idle.remove(worker)
            worker.kill()
        mine = [worker for worker in self._idle if (worker.tenant, worker.role) == (tenant, role)]
        return max(
            mine, key=lambda worker: (worker.knows("job", job_id), worker.idle_since), default=None
        )

    def _make_place(self, role: Role) -> bool:
        idle = [worker for worker in self._idle if worker.role == role]
        busy = sum(worker.role == role for worker in self._busy)
        if busy + self._starting[role] >= self._capacity[role]:
            return False
        if len(idle) + busy + self._starting[role] >= self._capacity[role]:
            oldest = min(idle, key=lambda worker: worker.idle_since)
            self._idle.remove(oldest)
            oldest.kill()
        return True

    def _wake(self) -> None:
        for future in self._waiting:
            if not future.done():
                future.set_result(None)
        self._waiting.clear()
