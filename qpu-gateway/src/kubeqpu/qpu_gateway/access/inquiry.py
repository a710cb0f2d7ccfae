"""Asking the API server: not too much at once, not for too long, and not while it wants quiet."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import aiohttp
import structlog
from kubernetes.aio.client import ApiException

from kubeqpu.qpu_gateway.access.refusals import LogBudget
from kubeqpu.qpu_gateway.errors import ClusterUnavailableError

T = TypeVar("T")

_LOG = structlog.get_logger(__name__)

_TOO_MANY_REQUESTS = 429
_LONGEST_QUIET_SECONDS = 5.0


class Inquiry:
    """One kind of question to the API server.

    Args:
        kind: What is asked for, for logs and metrics.
        observe: Told the kind of each question and the seconds it took.
        at_once: Most questions under way.
        waiting: Most questions that wait for their turn; more are refused.
        seconds: How long a question may take, waiting included.
    """

    def __init__(
        self,
        kind: str,
        observe: Callable[[str, float], None],
        at_once: int = 16,
        waiting: int = 512,
        seconds: float = 5.0,
    ) -> None:
        self._kind = kind
        self._observe = observe
        self._turn = asyncio.Semaphore(at_once)
        self._room = at_once + waiting
        self._pending = 0
        self._seconds = seconds
        self._quiet_until = -math.inf
        self._budget = LogBudget()

    async def put(self, send: Callable[[], Awaitable[T]]) -> T:
        """Puts a question and gives its answer.

        Args:
            send: Sends it once. What it raises is never shown: an answer that cannot be read may
                quote the token.

        Raises:
            ClusterUnavailableError: If there is no answer, or none that can be read.
        """
        if self._pending >= self._room:
            raise self._unavailable(f"{self._pending} questions wait already")
        if time.monotonic() < self._quiet_until:
            raise self._unavailable("it asked to be left alone for a moment")
        self._pending += 1
        try:
            async with asyncio.timeout(self._seconds), self._turn:
                return await self._send(send)
        except ApiException as error:
            self._keep_quiet(error)
            # Not chained, here and below: the cause may quote the token.
            raise self._unavailable(f"it answered with status {error.status}") from None
        except TimeoutError:
            reason = f"it did not answer within {self._seconds:g} s"
            raise self._unavailable(reason) from None
        except Exception as error:
            raise self._unavailable(f"{type(error).__name__}") from None
        finally:
            self._pending -= 1

    async def _send(self, send: Callable[[], Awaitable[T]]) -> T:
        start = time.perf_counter()
        try:
            try:
                return await send()
            except aiohttp.ClientConnectionError:
                # A kept connection that the server closed meanwhile; nothing was changed by it.
                return await send()
        finally:
            self._observe(self._kind, time.perf_counter() - start)

    def _keep_quiet(self, error: ApiException) -> None:
        if error.status != _TOO_MANY_REQUESTS:
            return
        try:
            wanted = float((error.headers or {}).get("Retry-After", 1.0))
        except ValueError:
            wanted = 1.0
        seconds = min(wanted, _LONGEST_QUIET_SECONDS) if wanted > 0 else 0.0
        self._quiet_until = time.monotonic() + seconds

    def _unavailable(self, reason: str) -> ClusterUnavailableError:
        if (suppressed := self._budget.spend()) is not None:
            _LOG.warning("Review failed", review=self._kind, reason=reason, suppressed=suppressed)
        return ClusterUnavailableError(
            f"The cluster's API server could not tell who calls or what they may do ({reason}). "
            "Try again."
        )
