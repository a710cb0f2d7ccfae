"""Whose gateway is silent: a decision from what was seen, and when, by our own clock.

A renewal is a *change* of a Lease's renewTime, and its age is measured from the moment when this
process saw the change, with its monotonic clock; so neither a clock ahead nor one set back matters.
The time written in the Lease is used once: for a Lease that is old when it is seen first, which
shortens what is left of its time after a restart of ours. It never shortens it below
`settle_seconds`, in which a gateway that lives renews at least once, whatever its clock says.

Our own blindness is not a gateway's silence: while the watch of Leases shows nothing at all (our
own Lease, renewed every few seconds, is among them), nobody is judged, and when it shows something
again, everybody gets the whole time anew.
"""

from dataclasses import dataclass
from datetime import datetime

_MIN_SIGHT_SECONDS = 6.0


@dataclass(frozen=True)
class Limits:
    """How long is too long.

    Attributes:
        lease_duration_seconds: Without renewal for so long, a gateway is silent.
        clock_skew_seconds: How far clocks may be apart.
    """

    lease_duration_seconds: float = 40.0
    clock_skew_seconds: float = 30.0

    @property
    def settle_seconds(self) -> float:
        """In which a gateway that lives renews at least once: it does four times per duration."""
        return 0.4 * self.lease_duration_seconds

    @property
    def sight_seconds(self) -> float:
        """After so long without any sign from the watch of Leases, we are blind.

        It is less than `settle_seconds`, so that nobody is judged by what a dying watch did not
        show, and more than another pod takes to renew our own Lease when the leader died.
        """
        return max(0.35 * self.lease_duration_seconds, _MIN_SIGHT_SECONDS)


@dataclass(frozen=True)
class Moment:
    """A time by both clocks.

    Attributes:
        monotonic: Seconds, for differences.
        wall: For people, and to compare with what others wrote.
    """

    monotonic: float
    wall: datetime


@dataclass(frozen=True)
class Heartbeat:
    """What is known of a QPU's Lease.

    Attributes:
        renewed: Its renewTime as last seen; None without a Lease, or without that field.
        changed: Monotonic time when that was seen first.
        patience_seconds: How long from then its gateway may stay silent.
        since: When the gateway was last heard of, for people.
    """

    renewed: datetime | None
    changed: float
    patience_seconds: float
    since: datetime


@dataclass(frozen=True)
class Sight:
    """Whether the watch of Leases shows anything.

    Attributes:
        since: Monotonic time from when on it did so without a gap.
        last: Monotonic time of its last sign.
    """

    since: float
    last: float


def meet(evidence: datetime, renewed: datetime | None, now: Moment, limits: Limits) -> Heartbeat:
    """Begins to watch a QPU that was there before us.

    Args:
        evidence: When its gateway was heard of, by another clock: the renewTime of its Lease, or,
            without one, when the QPU was created.
        renewed: The renewTime of its Lease, if there is one.
        now: The time.
        limits: How long is too long.
    """
    age_seconds = (now.wall - evidence).total_seconds()
    rest_seconds = limits.lease_duration_seconds + limits.clock_skew_seconds - age_seconds
    patience = min(max(rest_seconds, limits.settle_seconds), limits.lease_duration_seconds)
    return Heartbeat(renewed, now.monotonic, patience, min(evidence, now.wall))


def observe(known: Heartbeat, renewed: datetime | None, now: Moment, limits: Limits) -> Heartbeat:
    """Takes in what a QPU's Lease says now; any change of it, also backwards, is a renewal.

    A Lease that vanished starts the time as well: its gateway may be about to make it anew.
    """
    if renewed == known.renewed:
        return known
    return Heartbeat(renewed, now.monotonic, limits.lease_duration_seconds, now.wall)


def see(sight: Sight | None, now: Moment, limits: Limits) -> Sight:
    """Takes in that the watch of Leases showed something."""
    if is_blind(sight, now, limits) or sight is None:
        return Sight(now.monotonic, now.monotonic)
    return Sight(sight.since, now.monotonic)


def is_blind(sight: Sight | None, now: Moment, limits: Limits) -> bool:
    """Tells whether the watch of Leases is no base for judging anyone."""
    return sight is None or now.monotonic - sight.last > limits.sight_seconds


def is_silent(heartbeat: Heartbeat, sight: Sight | None, now: Moment, limits: Limits) -> bool:
    """Tells whether a QPU's gateway was silent for too long, as far as we could hear."""
    if sight is None or is_blind(sight, now, limits):
        return False
    if heartbeat.changed >= sight.since:
        end = heartbeat.changed + heartbeat.patience_seconds
    else:
        end = sight.since + limits.lease_duration_seconds
    return now.monotonic >= end
