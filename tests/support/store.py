"""What the tests of the store share."""

from collections.abc import Callable

from kubeqpu.qpu_gateway.jobs import NewJob
from kubeqpu.qpu_gateway.store.database import Database

ROWS = 6
TTL_SECONDS = 100.0

# Opens the database of this number; opened again, it is the same.
OpenDatabase = Callable[[int], Database]


def make_job(
    number: int, tenant: str, key: str, digest: str = "d", circuits: int = ROWS, priority: int = 0
) -> NewJob:
    return NewJob(
        id=f"{number:032d}",
        tenant=tenant,
        idempotency_key=key,
        spec_digest=digest,
        spec=b"spec",
        qpu="q",
        placement="",
        seed=2**64 - number,
        circuits=circuits,
        priority=priority,
        submitted_at=0.0,
        result_ttl_seconds=TTL_SECONDS,
    )
