"""What the controller saw of QPUs and their Leases."""

from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime

from kubeqpu.admission import health, silence
from kubeqpu.admission.health import Heartbeat, Limits, Moment, Sight
from kubeqpu.admission.leases import Lease
from kubeqpu.common import api
from kubeqpu.common.qpu import ConditionStatus


@dataclass(frozen=True)
class SeenQPU:
    """A QPU, and when it was first seen, for it may have no Lease.

    Attributes:
        qpu: As last seen.
        alone: What is known of its gateway without a Lease.
    """

    qpu: api.QPU
    alone: Heartbeat


class Observations:
    """Takes in QPUs and Leases, and answers whose gateway is silent.

    Args:
        limits: How long is too long.
        clock: Tells the time.
    """

    def __init__(self, limits: Limits, clock: Callable[[], Moment]) -> None:
        self._limits = limits
        self._clock = clock
        self._sight: Sight | None = None
        self._qpus: dict[str, SeenQPU] = {}
        self._heartbeats: dict[str, Heartbeat] = {}

    def see_qpus(self, qpus: Collection[api.QPU]) -> None:
        """Takes in all QPUs."""
        for name in set(self._qpus) - {qpu.metadata.name for qpu in qpus}:
            self.forget_qpu(name)
        for qpu in qpus:
            self.see_qpu(qpu)

    def see_qpu(self, qpu: api.QPU) -> None:
        """Takes in a QPU; one made anew under its name counts from now."""
        known = self._qpus.get(qpu.metadata.name)
        if known is None or known.qpu.metadata.uid != qpu.metadata.uid:
            now = self._clock()
            created = qpu.metadata.creation_timestamp or now.wall
            alone = health.meet(created, None, now, self._limits)
            self._qpus[qpu.metadata.name] = SeenQPU(qpu, alone)
        else:
            self._qpus[qpu.metadata.name] = SeenQPU(qpu, known.alone)

    def forget_qpu(self, name: str) -> None:
        """Takes in that a QPU is gone."""
        self._qpus.pop(name, None)
        heartbeat = self._heartbeats.get(api.lease_name(name))
        if heartbeat is not None and heartbeat.renewed is None:
            del self._heartbeats[api.lease_name(name)]

    def see_lease(self, lease: Lease, *, listed: bool) -> None:
        """Takes in a Lease from the watch, which also proves that the watch works.

        Args:
            lease: The Lease.
            listed: Whether it was there before the watch began.
        """
        now = self._clock()
        self._sight = health.see(self._sight, now, self._limits)
        known = self._heartbeats.get(lease.name)
        if known is None and listed:
            evidence = lease.renewed or now.wall
            self._heartbeats[lease.name] = health.meet(evidence, lease.renewed, now, self._limits)
        else:
            self._update(lease.name, lease.renewed, now)

    def forget_lease(self, name: str) -> None:
        """Takes in from the watch that a Lease is gone; its gateway's time starts once more."""
        now = self._clock()
        self._sight = health.see(self._sight, now, self._limits)
        if any(api.lease_name(qpu) == name for qpu in self._qpus):
            self._update(name, None, now)
        else:
            self._heartbeats.pop(name, None)

    def read_renewal(self, lease: str, renewed: datetime | None) -> None:
        """Takes in what a Lease said when it was read, apart from the watch."""
        if renewed is not None or lease in self._heartbeats:
            self._update(lease, renewed, self._clock())

    def is_blind(self) -> bool:
        """Tells whether the watch of Leases shows too little to judge anyone."""
        return health.is_blind(self._sight, self._clock(), self._limits)

    def heartbeat(self, qpu: str) -> Heartbeat | None:
        """Gives what is known of a QPU's gateway; None for an unknown QPU."""
        seen = self._qpus.get(qpu)
        return None if seen is None else self._heartbeats.get(api.lease_name(qpu), seen.alone)

    def is_silent(self, qpu: str) -> bool:
        """Tells whether a QPU's gateway was silent for too long."""
        heartbeat = self.heartbeat(qpu)
        return heartbeat is not None and health.is_silent(
            heartbeat, self._sight, self._clock(), self._limits
        )

    def untold(self) -> list[str]:
        """Names the QPUs whose gateway is silent while they do not say so."""
        return [
            name
            for name, seen in self._qpus.items()
            if not silence.is_told(seen.qpu) and self.is_silent(name)
        ]

    def count_ready(self) -> dict[ConditionStatus, int]:
        """Counts the QPUs by the status of Ready; one without that condition is Unknown."""
        found = (silence.find_ready(seen.qpu) for seen in self._qpus.values())
        counted = Counter(
            ConditionStatus.UNKNOWN if ready is None else ready.status for ready in found
        )
        return {status: counted[status] for status in ConditionStatus}

    def _update(self, lease: str, renewed: datetime | None, now: Moment) -> None:
        known = self._heartbeats.get(lease)
        if known is None:
            full = self._limits.lease_duration_seconds
            self._heartbeats[lease] = Heartbeat(renewed, now.monotonic, full, now.wall)
        else:
            self._heartbeats[lease] = health.observe(known, renewed, now, self._limits)
