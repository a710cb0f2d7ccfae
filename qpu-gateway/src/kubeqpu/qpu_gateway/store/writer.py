"""Writes from one thread and commits many writes at once.

A commit waits for the disk, so everything that is waiting when a transaction starts goes into it.
Each write runs inside a savepoint: one that is refused leaves no trace and disturbs no other.

When the database goes away, the thread finds out whether the last transaction is stored before it
does anything else; what is not stored is run again or refused, and never both.
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

from kubeqpu.qpu_gateway.errors import (
    GatewayError,
    StoreTakenOverError,
    StoreUnavailableError,
)
from kubeqpu.qpu_gateway.store.database import Database

T = TypeVar("T")

_MOST_IN_ONE_COMMIT = 256
# How often a database that is away is tried while writes wait for it and no other comes.
_TRY_AGAIN_SECONDS = 0.25


@dataclass(frozen=True)
class _Write:
    """A statement function, the future that waits for it, and the loop of that future."""

    function: Callable[[sa.Connection], Any]
    future: asyncio.Future[Any]
    loop: asyncio.AbstractEventLoop
    patient: bool
    unclaimed: Callable[[Any], None] | None


@dataclass(frozen=True)
class _Outcome:
    """What became of a write."""

    write: _Write
    value: Any
    error: Exception | None


class Writer:
    """The thread through which every change of the database goes.

    Args:
        database: The database.
        on_commit: Called from the thread with the seconds a commit took and the writes in it.
    """

    def __init__(
        self, database: Database, on_commit: Callable[[float, int], None] | None = None
    ) -> None:
        self._database = database
        self._connection: sa.Connection | None = None
        self._on_commit = on_commit
        self._queue: queue.SimpleQueue[_Write | None] = queue.SimpleQueue()
        # Patient writes until the database is back.
        self._waiting: list[_Write] = []
        # Outcomes of the last transaction, if it is not known whether it was committed.
        self._unsettled: list[_Outcome] = []
        self._thread = threading.Thread(target=self._work, name="store-writer", daemon=True)
        self._thread.start()

    async def write(
        self,
        function: Callable[[sa.Connection], T],
        *,
        patient: bool = False,
        unclaimed: Callable[[T], None] | None = None,
    ) -> T:
        """Runs a function in a transaction and returns when it is on disk.

        Args:
            function: Executes statements; may run again after its changes were rolled back.
            patient: Whether to wait for a database that is away, however long.
            unclaimed: Called in the event loop with what the function returned, if it is on disk
                and nobody waits for it any more.

        Returns:
            What the function returned.

        Raises:
            GatewayError: What the function raised.
            ResourceExhaustedError: If the disk is full; nothing was changed.
            StoreUnavailableError: If the database is away. If it went away just now, it may have
                been changed.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._queue.put(_Write(function, future, loop, patient, unclaimed))
        return await future

    def close(self) -> None:
        """Finishes what is queued, then ends the thread."""
        self._queue.put(None)
        self._thread.join()

    def _work(self) -> None:
        stopping = False
        while not stopping:
            writes, stopping = self._take()
            if self._connect(writes):
                writes, self._waiting = self._waiting + writes, []
                if writes:
                    self._commit(writes)
        _deliver([_refuse(write) for write in self._waiting])
        if self._connection is not None:
            self._connection.close()

    def _take(self) -> tuple[list[_Write], bool]:
        """Takes what is queued, at least one; nothing if writes wait that were taken before."""
        try:
            pending = self._waiting or self._unsettled
            first = self._queue.get(timeout=_TRY_AGAIN_SECONDS if pending else None)
        except queue.Empty:
            return [], False
        if first is None:
            return [], True
        writes = [first]
        while len(writes) < _MOST_IN_ONE_COMMIT and not self._queue.empty():
            following = self._queue.get()
            if following is None:
                return writes, True
            writes.append(following)
        return writes, False

    def _connect(self, writes: list[_Write]) -> bool:
        """Connects if need be and settles the last transaction; if it cannot, puts writes off."""
        # Kept open: taking one from the pool and giving it back costs as much as a statement.
        if self._connection is not None:
            return True
        if not (writes or self._waiting or self._unsettled):
            return False
        error = self._open()
        if error is not None:
            self._put_off(writes, error)
        return error is None

    def _open(self) -> Exception | None:
        """Connects and settles the last transaction; returns what kept it from connecting."""
        try:
            self._connection = self._database.connect_writer()
        except Exception as error:
            return error
        self._settle()
        return None

    def _put_off(self, writes: list[_Write], error: Exception) -> None:
        """Keeps patient writes for later, and refuses all if there is nothing to wait for."""
        passing = isinstance(error, StoreUnavailableError)
        passing &= not isinstance(error, StoreTakenOverError)
        self._waiting += [write for write in writes if passing and write.patient]
        _deliver([_Outcome(w, None, error) for w in writes if not (passing and w.patient)])

    def _settle(self) -> None:
        """Delivers the last transaction's outcomes if it was committed after all."""
        unsettled, self._unsettled = self._unsettled, []
        if unsettled and self._database.is_last_stored():
            done = {id(outcome.write) for outcome in unsettled}
            self._waiting = [write for write in self._waiting if id(write) not in done]
            _deliver(unsettled)

    def _commit(self, writes: list[_Write], again: bool = False) -> None:
        start = time.perf_counter()
        try:
            outcomes = self._run(writes)
        except Exception as error:
            if self._database.is_lost(error):
                self._recover(writes, error, again)
                return
            # A full disk, say, undoes the whole transaction. Each write alone may still succeed.
            if len(writes) > 1:
                for write in writes:
                    if self._connect([write]):
                        self._commit([write])
                return
            outcomes = [_Outcome(writes[0], None, self._database.explain(error))]
        if self._on_commit is not None:
            self._on_commit(time.perf_counter() - start, len(writes))
        _deliver(outcomes)

    def _recover(self, writes: list[_Write], error: Exception, again: bool) -> None:
        """Runs writes once more whose connection was lost, unless they are stored already."""
        kept, self._waiting = self._waiting, writes
        failure = self._database.explain(error) if again else self._open()
        writes, self._waiting = self._waiting, kept
        if failure is not None:
            self._put_off(writes, failure)
        elif writes:
            self._commit(writes, again=True)

    def _run(self, writes: list[_Write]) -> list[_Outcome]:
        connection = self._connection
        assert connection is not None
        self._unsettled = []
        try:
            if len(writes) == 1:
                # The transaction itself serves as the savepoint.
                outcomes = [self._attempt(writes[0], connection, connection.begin)]
            else:
                with connection.begin():
                    outcomes = [
                        self._attempt(write, connection, connection.begin_nested)
                        for write in writes
                    ]
        except BaseException:
            self._connection = None
            connection.close()
            raise
        self._unsettled = []
        return outcomes

    def _attempt(
        self,
        write: _Write,
        connection: sa.Connection,
        begin: Callable[[], AbstractContextManager[object]],
    ) -> _Outcome:
        try:
            with begin():
                outcome = _Outcome(write, write.function(connection), None)
                self._unsettled.append(outcome)
        except GatewayError as error:
            outcome = _Outcome(write, None, error)
            self._unsettled.append(outcome)
        return outcome


def _refuse(write: _Write) -> _Outcome:
    error = StoreUnavailableError("The gateway stopped while its database was away.")
    return _Outcome(write, None, error)


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
        if future.done():
            if outcome.error is None and outcome.write.unclaimed is not None:
                outcome.write.unclaimed(outcome.value)
        elif outcome.error is not None:
            future.set_exception(outcome.error)
        else:
            future.set_result(outcome.value)
