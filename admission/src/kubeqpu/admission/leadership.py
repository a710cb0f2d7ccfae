"""Which of the controller's pods acts: a decision from a Lease, as plain data.

The library's own election takes its times from the wall clock, cannot release and notices a loss
late; this one does not.
"""

from dataclasses import dataclass
from datetime import datetime

from pydantic import JsonValue

from kubeqpu.admission.leases import Lease, format_micro_time

# Others wait `LEASE_SECONDS` from when they saw the last renewal; the holder stops by itself after
# `DEADLINE_SECONDS` from before it asked for that renewal, so that two never act at once.
LEASE_SECONDS = 10
DEADLINE_SECONDS = 7.5
RENEW_SECONDS = 2.5
RETRY_SECONDS = 2.0


@dataclass(frozen=True)
class Seen:
    """A Lease, and since when it is as it is.

    Attributes:
        lease: As last read.
        changed: Monotonic time when it was first seen so.
    """

    lease: Lease
    changed: float


def look(known: Seen | None, lease: Lease, now: float) -> Seen:
    """Takes in what the Lease says now."""
    if known is not None and known.lease.resource_version == lease.resource_version:
        return known
    return Seen(lease, now)


def may_take(seen: Seen, identity: str, now: float) -> bool:
    """Tells whether the Lease is free, ours, or was left unrenewed for too long."""
    holder = seen.lease.holder
    duration_seconds = seen.lease.duration_seconds or LEASE_SECONDS
    return holder in {"", identity} or now - seen.changed >= duration_seconds


def claim(
    lease: Lease, identity: str, now: datetime, seconds: int = LEASE_SECONDS
) -> dict[str, JsonValue]:
    """Writes the patch that takes or renews the Lease, unless it changed since it was read.

    Args:
        lease: As it was read.
        identity: Who takes it.
        now: The time.
        seconds: How long others wait for a renewal before they take it.
    """
    ours = lease.holder == identity
    acquired = lease.acquired if ours and lease.acquired else now
    return _patch(
        lease,
        holderIdentity=identity,
        leaseDurationSeconds=seconds,
        acquireTime=format_micro_time(acquired),
        renewTime=format_micro_time(now),
        leaseTransitions=lease.transitions + (0 if ours else 1),
    )


def give_up(lease: Lease) -> dict[str, JsonValue]:
    """Writes the patch that frees the Lease, unless it changed since it was read."""
    return _patch(lease, holderIdentity="")


def _patch(lease: Lease, **spec: JsonValue) -> dict[str, JsonValue]:
    return {"metadata": {"resourceVersion": lease.resource_version}, "spec": spec}
