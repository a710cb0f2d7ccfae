"""Marks the QPUs whose gateway is silent.

Why a gateway that returns always wins: it renews its Lease and then writes Ready. We read the QPU,
then its Lease, then write on the condition that the QPU is as we read it. If the gateway wrote
before we read the QPU, it had renewed before we read the Lease, and we do not write; if it wrote
after, our write is refused; and if its write comes after ours, it takes the condition back.
"""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime

import structlog

from kubeqpu.admission import silence
from kubeqpu.admission.cluster import Cluster
from kubeqpu.admission.errors import ClusterError, ConflictError, NotFoundError
from kubeqpu.admission.health import Limits
from kubeqpu.admission.leases import Lease
from kubeqpu.admission.observations import Observations
from kubeqpu.admission.telemetry import Telemetry
from kubeqpu.common import api

_LOG = structlog.get_logger(__name__)
_PERIOD_SECONDS = 1.0
_AT_ONCE = 8


class Monitor:
    """Looks every second whose gateway is silent.

    Args:
        cluster: The API server.
        observations: What was seen.
        limits: How long is too long.
        is_leader: Tells whether we may write at this moment.
        telemetry: Counts what is written.
        namespace: Where the Leases are.
        instance: Who signs Events.
    """

    def __init__(
        self,
        cluster: Cluster,
        observations: Observations,
        limits: Limits,
        is_leader: Callable[[], bool],
        telemetry: Telemetry,
        *,
        namespace: str,
        instance: str,
    ) -> None:
        self._cluster = cluster
        self._observations = observations
        self._limits = limits
        self._is_leader = is_leader
        self._telemetry = telemetry
        self._namespace = namespace
        self._instance = instance
        self._blind = True
        self._told: dict[str, float] = {}
        self._gate = asyncio.Semaphore(_AT_ONCE)

    async def step(self) -> float:
        """Marks all who are silent; gives the seconds until the next time.

        Raises:
            ClusterError: If at least one could not be marked; the others were.
        """
        self._telemetry.show_qpus(self._observations.count_ready())
        self._notice_blindness()
        if self._is_leader():
            now = asyncio.get_running_loop().time()
            # One who says that it is Ready while it renews no Lease is not contradicted for ever.
            patience = self._limits.settle_seconds
            self._told = {name: at for name, at in self._told.items() if now - at < patience}
            names = [name for name in self._observations.untold() if name not in self._told]
            results = await asyncio.gather(*map(self._mark, names), return_exceptions=True)
            for result in results:
                if isinstance(result, BaseException):
                    raise result
        return _PERIOD_SECONDS

    async def _mark(self, name: str) -> None:
        async with self._gate:
            try:
                qpu = await self._cluster.read_qpu(name)
            except NotFoundError:
                self._observations.forget_qpu(name)
                return
            self._observations.see_qpu(qpu)
            lease = await self._read_lease(name)
            heartbeat = self._observations.heartbeat(name)
            if heartbeat is None or silence.is_told(qpu) or not self._may_mark(name):
                return
            now = datetime.now(UTC)
            message = silence.describe(qpu, heartbeat, lease.holder, self._namespace)
            try:
                await self._cluster.apply_status(name, silence.condition(qpu, message, now))
            except (ConflictError, NotFoundError):
                _LOG.debug("QPU changed meanwhile", qpu=name)
                return
            self._told[name] = asyncio.get_running_loop().time()
            self._telemetry.count_write("condition")
            _LOG.warning("Gateway fell silent", qpu=name, since=heartbeat.since.isoformat(),
                         gateway=qpu.status.gateway, pod=lease.holder)  # fmt: skip
            await self._record(qpu, message)

    async def _read_lease(self, qpu: str) -> Lease:
        name = api.lease_name(qpu)
        try:
            found = await self._cluster.read_lease(name)
        except NotFoundError:
            found = Lease(name)
        self._observations.read_renewal(name, found.renewed)
        return found

    def _may_mark(self, qpu: str) -> bool:
        return self._is_leader() and self._observations.is_silent(qpu)

    async def _record(self, qpu: api.QPU, message: str) -> None:
        try:
            await self._cluster.create_event(silence.event(qpu, message, self._instance))
        except ClusterError as error:
            self._telemetry.count_error("health")
            _LOG.warning("Event not recorded", qpu=qpu.metadata.name, error=str(error))
        else:
            self._telemetry.count_write("event")

    def _notice_blindness(self) -> None:
        blind = self._observations.is_blind()
        if blind != self._blind:
            self._blind = blind
            if blind:
                _LOG.warning("Leases out of sight, no QPU is judged", namespace=self._namespace)
            else:
                _LOG.info("Leases in sight", namespace=self._namespace)
