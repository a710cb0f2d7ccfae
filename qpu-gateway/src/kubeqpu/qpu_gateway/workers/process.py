"""One worker process as the pool sees it."""

import asyncio
import signal
from collections import OrderedDict
from collections.abc import AsyncGenerator
from typing import Literal

from kubeqpu.qpu_gateway.errors import CircuitError, ProviderError, WorkerError
from kubeqpu.qpu_gateway.workers.forks import ForkedProcess, ForkServer
from kubeqpu.qpu_gateway.workers.frames import Frame, receive_frame

Role = Literal["inspect", "run", "load"]
OUT_OF_MEMORY_STATUS = 77
_EXIT_REPORT_SECONDS = 5.0


class WorkerProcess:
    """A forked worker that serves one tenant in one role, one task at a time.

    Attributes:
        tenant: Whose payloads it has seen.
        role: What it does.
        idle_since: Event-loop time at which it became idle.
    """

    def __init__(self, tenant: str, role: Role, forked: ForkedProcess, server: ForkServer) -> None:
        self.tenant = tenant
        self.role = role
        self.idle_since = 0.0
        self._known: dict[str, OrderedDict[str, None]] = {}
        self._forked = forked
        self._server = server
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._busy = False

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._forked.pid

    @property
    def usable(self) -> bool:
        """Whether it can take a task: alive, and not in the middle of one."""
        return not self._forked.exited.done() and not self._busy and not self._server.lost

    def remember(self, kind: str, key: str, capacity: int) -> bool:
        """Notes that the worker is being sent a payload, as the worker's own cache will.

        Returns:
            Whether it has to be sent; False if the worker has it already.
        """
        known = self._known.setdefault(kind, OrderedDict())
        fresh = key not in known
        known[key] = None
        known.move_to_end(key)
        while len(known) > capacity:
            known.popitem(last=False)
        return fresh

    def knows(self, kind: str, key: str) -> bool:
        """Tells whether the worker has a payload."""
        return key in self._known.get(kind, ())

    async def perform(
        self, request: Frame, limit_seconds: float, memory_bytes: int
    ) -> AsyncGenerator[Frame, None]:
        """Sends a task and yields its result frames.

        A worker that is abandoned in the middle, by an error, a time limit or a closed iteration,
        is no longer usable.

        Raises:
            CircuitError: If the worker refuses the circuits.
            WorkerError: If the worker fails, crashes, or needs too much memory or time.
        """
        self._busy = True
        clock = asyncio.get_running_loop().time
        remaining = limit_seconds
        try:
            reader = await self._send(request)
            while True:
                asked = clock()
                # Not `wait_for`, which makes a task of every frame.
                async with asyncio.timeout(remaining):
                    frame = await receive_frame(reader)
                # Counts the worker's time, not that of a slow reader of its results.
                remaining -= clock() - asked
                if frame.head["event"] == "done":
                    self._busy = False
                    return
                if frame.head["event"] == "error":
                    kind, message = str(frame.head["kind"]), str(frame.head["message"])
                    self._busy = kind == "memory"
                    raise _error(kind, message, memory_bytes)
                yield frame
        except TimeoutError as error:
            raise WorkerError(
                f"The worker process took longer than {limit_seconds:g} s and was ended; use fewer "
                "shots, narrower circuits or smaller batches, or raise the limit."
            ) from error
        except (asyncio.IncompleteReadError, OSError, ValueError) as error:
            raise WorkerError(await self._cause_of_death(memory_bytes)) from error

    async def _send(self, request: Frame) -> asyncio.StreamReader:
        if self._reader is None or self._writer is None:
            self._reader, self._writer = await asyncio.open_connection(sock=self._forked.connection)
        self._writer.write(request.encode())
        await self._writer.drain()
        return self._reader

    def kill(self) -> None:
        """Ends the process now."""
        if not self._forked.exited.done():
            self._server.kill(self.pid)
        if self._writer is not None:
            self._writer.close()
        else:
            self._forked.connection.close()

    async def _cause_of_death(self, memory_bytes: int) -> str:
        try:
            code = await asyncio.wait_for(asyncio.shield(self._forked.exited), _EXIT_REPORT_SECONDS)
        except TimeoutError:
            return "The worker process broke the protocol; send the job again."
        if code == OUT_OF_MEMORY_STATUS:
            return _memory_sentence(memory_bytes)
        if code < 0:
            name = signal.Signals(-code).name
            return (
                f"The worker process was ended by signal {-code} ({name}); other jobs are not "
                "affected. If it happens again, the circuits need more memory than the machine has."
            )
        return f"The worker process ended with status {code}; other jobs are not affected."


def _error(kind: str, message: str, memory_bytes: int) -> ProviderError | CircuitError:
    if kind == "circuit":
        return CircuitError(message)
    if kind == "memory":
        return WorkerError(_memory_sentence(memory_bytes))
    if kind == "provider":
        return ProviderError(message)
    return WorkerError(f"The simulation failed ({message}); other jobs are not affected.")


def _memory_sentence(memory_bytes: int) -> str:
    return (
        f"The circuits need more memory than a worker process may use "
        f"({memory_bytes / 2**30:.1f} GiB); use narrower circuits or raise the limit."
    )
