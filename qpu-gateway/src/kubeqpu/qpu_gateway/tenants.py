"""Whose call it is. The one function that authentication replaces."""

import re
from collections.abc import Iterable

from kubeqpu.qpu_gateway.errors import InvalidRequestError

LOCAL_TENANT = "local"
TENANT_METADATA = "kubeqpu-tenant"
_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


def find_tenant(metadata: Iterable[tuple[str, str | bytes]] | None) -> str:
    """Tells the tenant of a call in embedded mode, where callers are believed.

    Args:
        metadata: The call's metadata.

    Returns:
        What the metadata says, or `local`.

    Raises:
        InvalidRequestError: If it is not a namespace's name.
    """
    for key, value in metadata or ():
        if key == TENANT_METADATA:
            tenant = value if isinstance(value, str) else value.decode("utf-8", "replace")
            if not _NAMESPACE.fullmatch(tenant):
                raise InvalidRequestError(
                    f"The tenant {tenant[:80]!r} is not a namespace; expected at most 63 lower "
                    "case letters, digits and dashes."
                )
            return tenant
    return LOCAL_TENANT
