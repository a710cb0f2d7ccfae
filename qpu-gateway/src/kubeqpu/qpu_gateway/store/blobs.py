"""Statements on blobs. Every function works inside the caller's transaction."""

import sqlalchemy as sa

from kubeqpu.qpu_gateway.errors import NotFoundError, ResourceExhaustedError
from kubeqpu.qpu_gateway.store.schema import BLOBS


def put_blob(
    connection: sa.Connection,
    tenant: str,
    digest: str,
    data: bytes,
    expires_at: float,
    max_tenant_bytes: int,
) -> float:
    """Stores a blob, or keeps the one that is there for longer.

    Args:
        connection: A connection in a writing transaction.
        tenant: Whose blob it is.
        digest: Its address.
        data: Its content.
        expires_at: Seconds since the epoch until which it is kept at least.
        max_tenant_bytes: Most bytes this tenant may have in blobs.

    Returns:
        When it expires, in seconds since the epoch.

    Raises:
        ResourceExhaustedError: If the tenant would have too many bytes.
    """
    mine = (BLOBS.c.tenant == tenant) & (BLOBS.c.digest == digest)
    there = connection.execute(sa.select(BLOBS.c.expires_at).where(mine)).scalar_one_or_none()
    if there is not None:
        expires_at = max(expires_at, there)
        connection.execute(BLOBS.update().where(mine).values(expires_at=expires_at))
        return expires_at
    used = connection.execute(
        sa.select(sa.func.coalesce(sa.func.sum(BLOBS.c.size), 0)).where(BLOBS.c.tenant == tenant)
    ).scalar_one()
    if used + len(data) > max_tenant_bytes:
        raise ResourceExhaustedError(
            f"Tenant {tenant} has {used} bytes in blobs and may have {max_tenant_bytes}; a blob "
            f"of {len(data)} more does not fit. Wait until some expire, or set a shorter ttl."
        )
    connection.execute(
        BLOBS.insert(),
        {
            "tenant": tenant,
            "digest": digest,
            "size": len(data),
            "expires_at": expires_at,
            "data": data,
        },
    )
    return expires_at


def get_blob(connection: sa.Connection, tenant: str, digest: str, now: float) -> bytes:
    """Reads a blob.

    Raises:
        NotFoundError: If the tenant has none of this address, or it expired.
    """
    query = sa.select(BLOBS.c.data).where(
        BLOBS.c.tenant == tenant, BLOBS.c.digest == digest, BLOBS.c.expires_at > now
    )
    data = connection.execute(query).scalar_one_or_none()
    if data is None:
        raise NotFoundError(f"There is no blob {digest}; it may have expired. Put it again.")
    return bytes(data)


def delete_expired(connection: sa.Connection, now: float, limit: int) -> int:
    """Deletes blobs whose time is over; returns how many."""
    query = sa.select(BLOBS.c.tenant, BLOBS.c.digest).where(BLOBS.c.expires_at <= now).limit(limit)
    found = connection.execute(query).all()
    for tenant, digest in found:
        connection.execute(BLOBS.delete().where(BLOBS.c.tenant == tenant, BLOBS.c.digest == digest))
    return len(found)
