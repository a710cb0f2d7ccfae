"""What callers say about themselves in a call's metadata."""

import re

from kubeqpu.common.names import METADATA_TENANT
from kubeqpu.qpu_gateway.access.callers import Metadata
from kubeqpu.qpu_gateway.errors import InvalidRequestError

_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_AUTHORIZATION = "authorization"
_SCHEME = "bearer "


def read_tenant(metadata: Metadata) -> str | None:
    """Reads the tenant that a caller names, or None.

    Raises:
        InvalidRequestError: If it is not a namespace's name.
    """
    for key, value in metadata:
        if key == METADATA_TENANT:
            tenant = _text(value)
            if not _NAMESPACE.fullmatch(tenant):
                raise InvalidRequestError(
                    f"The tenant {tenant[:80]!r} is not a namespace; expected at most 63 lower "
                    "case letters, digits and dashes."
                )
            return tenant
    return None


def read_token(metadata: Metadata) -> str | None:
    """Reads the bearer token of a call, or None if it has none."""
    for key, value in metadata:
        if key == _AUTHORIZATION:
            text = _text(value)
            if text[: len(_SCHEME)].lower() == _SCHEME:
                return text[len(_SCHEME) :].strip() or None
    return None


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("utf-8", "replace")
