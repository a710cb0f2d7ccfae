"""Writes from one thread and commits many writes at once.

A commit waits for the disk, so everything that is waiting when a transaction starts goes into it.
Each write runs inside a savepoint: one that is refused leaves no trace and disturbs no other.
"""

import asyncio
import queue
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, TypeVar

import sqlalchemy as sa

from kubeqpu.qpu_gateway.errors import GatewayError, ResourceExhaustedError
from kubeqpu.qpu_gateway.store.engine import is_full

T = TypeVar("T")

_MOST_IN_ONE_COMMIT = 256


@dataclass(frozen=True)
class _Write:
    """A statement function, the future that waits for it, and the loop of that future."""

    function: Callable[[sa.Connection], Any]
    future: asyncio.Future[Any]
    loop: asyncio.AbstractEventLoop


@dataclass(frozen=True)
class _Outcome:
    """What became of a write."""

    write: _Write
    value: Any
    error: Exception | None


class Writer:
    """The thread through which every change of the database goes.

    Args:
        engine: The database.
        on_commit: Called from the thread with the seconds a commit took and the writes in it.
    """

    def __init__(
        self, engine: sa.Engine, on_commit: Callable[[float, int], None] | None = None
    ) -> None:
        self._engine = engine.execution_options(writes=True)
        self._connection: sa.Connection | None = None
        self._on_commit = on_commit
        self._queue: queue.SimpleQueue[_Write | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="store-writer", daemon=True)
        self._thread.start()

    async def write(self, function: Callable[[sa.Connection], T]) -> T:
        """Runs a function in a transaction and returns when it is on disk.

        Args:
            function: Executes statements; may run again after its changes were rolled back.

        Returns:
            What the function returned.

        Raises:
            GatewayError: What the function raised.
            ResourceExhaustedError: If the disk is full; nothing was changed.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._queue.put(_Write(function, future, loop))
        return await future

    def close(self) -> None:
        """Finishes what is queued, then ends the thread."""
        self._queue.put(None)
        self._thread.join()

    def _work(self) -> None:
        while (first := self._queue.get()) is not None:
            writes = [first]
            stopping = False
            while len(writes) < _MOST_IN_ONE_COMMIT and not self._queue.empty():
                following = self._queue.get()
                if following is None:
                    stopping = True
                    break
                writes.append(following)
            self._commit(writes)
            if stopping:
                break
        if self._connection is not None:
            self._connection.close()

    def _commit(self, writes: list[_Write]) -> None:
        start = time.perf_counter()
        try:
            outcomes = self._run(writes)
        except Exception as error:
            # A full disk, say, undoes the whole transaction. Each write alone may still succeed.
            if len(writes) > 1:
                for write in writes:
                    self._commit([write])
                return
            outcomes = [_Outcome(writes[0], None, _explain(error))]
        if self._on_commit is not None:
            self._on_commit(time.perf_counter() - start, len(writes))
        _deliver(outcomes)

    def _run(self, writes: list[_Write]) -> list[_Outcome]:
        # Kept open: taking one from the pool and giving it back costs as much as a statement.
        connection = self._connection
        if connection is None:
            connection = self._connection = self._engine.connect()
        try:
            if len(writes) == 1:
                # The transaction itself serves as the savepoint.
                return [_attempt(writes[0], connection, connection.begin)]
            with connection.begin():
                return [_attempt(write, connection, connection.begin_nested) for write in writes]
        except BaseException:
            self._connection = None
            connection.close()
            raise


def _attempt(
    write: _Write,
    connection: sa.Connection,
    begin: Callable[[], AbstractContextManager[object]],
) -> _Outcome:
    try:
        with begin():
            value = write.function(connection)
    except GatewayError as error:
        return _Outcome(write, None, error)
    return _Outcome(write, value, None)


def _explain(error: Exception) -> Exception:
    if isinstance(error, sa.exc.DBAPIError) and is_full(error):
        return ResourceExhaustedError(
            "The gateway's disk is full, so nothing was stored; free space in its data directory, "
            "raise limits.max_database_bytes, or wait until results expire, then try again."
        )
    return error


def _deliver(outcomes: list[_Outcome]) -> None:
    by_loop: dict[asyncio.AbstractEventLoop, list[_Outcome]] = {}
    for outcome in outcomes:
        by_loop.setdefault(outcome.write.loop, []).append(outcome)
    for loop, some in by_loop.items():
        if not loop.is_closed():
            loop.call_soon_threadsafe(_settle, some)


def _settle(outcomes: list[_Outcome]) -> None:
    for outcome in outcomes:
        future = outcome.write.future
        if future.cancelled():
            continue
        if outcome.error is not None:
            future.set_exception(outcome.error)
        else:
            future.set_result(outcome.value)
