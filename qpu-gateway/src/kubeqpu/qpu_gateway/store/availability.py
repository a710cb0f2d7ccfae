"""Whether a database can be reached, and when to try again."""

import threading

import structlog

from kubeqpu.common.backoff import Backoff
from kubeqpu.qpu_gateway.errors import StoreUnavailableError

_LOG = structlog.get_logger(__name__)

_LONGEST_RETRY_SECONDS = 5.0
# While nothing changes, one line in so many attempts.
_LOG_EVERY = 20


class Availability:
    """Remembers that a database is away, so that not every call waits to find out.

    Args:
        use: What the connections are for, as logs name it.
    """

    def __init__(self, use: str) -> None:
        self._use = use
        self._backoff = Backoff(_LONGEST_RETRY_SECONDS)
        self._error: StoreUnavailableError | None = None
        self._reason = ""
        self._lock = threading.Lock()

    def check(self) -> None:
        """Refuses an attempt right after a failed one.

        Raises:
            StoreUnavailableError: What failed a moment ago.
        """
        with self._lock:
            if self._error is not None and self._backoff.seconds_left > 0:
                raise type(self._error)(*self._error.args)

    def fail(self, reason: str, error: StoreUnavailableError) -> StoreUnavailableError:
        """Notes that an attempt failed.

        Args:
            reason: Why, for logs.
            error: What callers are told until the next attempt.

        Returns:
            The error.
        """
        with self._lock:
            known, self._reason, self._error = self._reason, reason, error
            seconds = self._backoff.fail()
            failures = self._backoff.failures
        if reason != known or failures % _LOG_EVERY == 0:
            _LOG.warning(
                "Database was not available",
                use=self._use,
                reason=reason,
                failures=failures,
                retry_in_seconds=round(seconds, 2),
            )
        return error

    def succeed(self) -> None:
        """Notes that an attempt succeeded."""
        with self._lock:
            known, self._reason, self._error = self._reason, "", None
            self._backoff.succeed()
        if known:
            _LOG.info("Database was available again", use=self._use)
