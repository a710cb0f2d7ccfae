"""Stores slots as they change, many at once, for as long as it takes."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import structlog

from kubeqpu.common.backoff import Backoff
from kubeqpu.qpu_gateway.errors import GatewayError, StoreUnavailableError
from kubeqpu.qpu_gateway.slots.ledger import Ledger
from kubeqpu.qpu_gateway.slots.slot import Slot

_LOG = structlog.get_logger(__name__)

_LONGEST_WAIT_SECONDS = 2.0


class Saver:
    """Keeps the database as the ledger is.

    Args:
        ledger: The slots.
        save: Stores slots in one transaction.
        on_saved: Told what was stored.
    """

    def __init__(
        self,
        ledger: Ledger,
        save: Callable[[Sequence[Slot]], Awaitable[None]],
        on_saved: Callable[[Sequence[Slot]], None],
    ) -> None:
        self._ledger = ledger
        self._save = save
        self._on_saved = on_saved
        self._due = asyncio.Event()
        self._waiting: list[asyncio.Future[None]] = []
        self._backoff = Backoff(_LONGEST_WAIT_SECONDS)

    def request(self) -> None:
        """Asks for what changed to be stored."""
        self._due.set()

    async def flush(self) -> None:
        """Returns when everything that changed before is stored.

        Raises:
            GatewayError: If it cannot be stored now; it is tried again later.
        """
        future = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        self._due.set()
        await future

    async def run(self) -> None:
        """Stores until cancelled; no error ends it."""
        while True:
            await self._due.wait()
            self._due.clear()
            waiting, self._waiting = self._waiting, []
            try:
                await self._store()
            except Exception as error:
                _tell(waiting, error)
                if self._backoff.failures == 0:
                    _LOG.warning("Slots not stored", reason=str(error))
                await asyncio.sleep(self._backoff.fail())
                self._due.set()
            else:
                if self._backoff.failures:
                    _LOG.info("Slots stored again", failures=self._backoff.failures)
                self._backoff.succeed()
                _tell(waiting, None)

    async def _store(self) -> None:
        slots = self._ledger.list_unsaved()
        if slots:
            await self._save(slots)
            self._ledger.note_stored(slots)
            self._on_saved(slots)


def _tell(waiting: Sequence[asyncio.Future[None]], error: Exception | None) -> None:
    for future in waiting:
        if future.done():
            continue
        if error is None:
            future.set_result(None)
        elif isinstance(error, GatewayError):
            future.set_exception(type(error)(*error.args))
        else:
            future.set_exception(
                StoreUnavailableError(
                    "The gateway could not store who holds its slots; its logs have the details. "
                    "Try again."
                )
            )
