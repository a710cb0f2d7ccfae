"""Takes and keeps the Lease that says which of the controller's pods acts."""

import random
import time
from datetime import UTC, datetime

import structlog

from kubeqpu.admission import leadership
from kubeqpu.admission.cluster import Cluster
from kubeqpu.admission.errors import ClusterError, ConflictError
from kubeqpu.admission.leadership import DEADLINE_SECONDS, RENEW_SECONDS, RETRY_SECONDS, Seen

_LOG = structlog.get_logger(__name__)


class Elector:
    """Leads, or waits to.

    Args:
        cluster: The API server.
        lease: The Lease's name.
        identity: Ours, different in every process.
    """

    def __init__(self, cluster: Cluster, lease: str, identity: str) -> None:
        self._cluster = cluster
        self._lease = lease
        self._identity = identity
        self._seen: Seen | None = None
        self._fresh = False
        self._leads_until = 0.0
        self._led = False

    def is_leader(self) -> bool:
        """Tells whether we may write at this moment; false as soon as a renewal is overdue."""
        return time.monotonic() < self._leads_until

    async def step(self) -> float:
        """Takes or renews the Lease if that is possible; gives the seconds until the next try.

        Raises:
            ClusterError: If the API server was not reached or refused.
        """
        try:
            await self._try()
        except ConflictError:
            self._leads_until = 0.0  # someone else took it; what it says now is read next time
            self._fresh = False
        except ClusterError:
            self._fresh = False
            raise
        finally:
            self._report()
        # Together a renewal, a failed one and its retry stay below the deadline.
        spread = random.uniform(0.8, 1.0)  # noqa: S311 - no secret
        return spread * (RENEW_SECONDS if self.is_leader() else RETRY_SECONDS)

    async def _try(self) -> None:
        started = time.monotonic()
        # A leader knows the Lease from its last renewal; one request is enough to renew it.
        if self._seen is None or not (self._fresh and self.is_leader()):
            read = await self._cluster.read_lease(self._lease)
            self._seen = leadership.look(self._seen, read, time.monotonic())
        if not leadership.may_take(self._seen, self._identity, time.monotonic()):
            self._leads_until = 0.0
            return
        patch = leadership.claim(self._seen.lease, self._identity, datetime.now(UTC))
        taken = await self._cluster.patch_lease(self._lease, patch)
        self._seen = leadership.look(self._seen, taken, time.monotonic())
        self._fresh = True
        self._leads_until = started + DEADLINE_SECONDS

    async def release(self) -> None:
        """Stops to lead at once and frees the Lease, so that a successor need not wait."""
        self._leads_until = 0.0
        self._report()
        try:
            read = await self._cluster.read_lease(self._lease)
            if read.holder == self._identity:
                await self._cluster.patch_lease(self._lease, leadership.give_up(read))
                _LOG.info("Lease released", lease=self._lease)
        except ClusterError as error:
            _LOG.warning("Lease not released, it expires", lease=self._lease, error=str(error))

    def _report(self) -> None:
        if self.is_leader() == self._led:
            return
        self._led = not self._led
        holder = self._seen.lease.holder if self._seen is not None else ""
        _LOG.info("Lead taken" if self._led else "Lead lost", lease=self._lease, holder=holder)
