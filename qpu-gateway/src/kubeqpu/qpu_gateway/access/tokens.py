"""What a token says about itself.

Nothing here is verified, so it serves for two things only: to refuse without asking the API server
what it would refuse too, and to forget a verdict no later than the token ends.
"""

import base64
import binascii
import hashlib
import json
from dataclasses import dataclass

# Projected tokens have about a kilobyte; gRPC lets no more than 8 KiB of metadata in.
_MAX_CHARACTERS = 16_384
_LAST_SECOND = 2**53


@dataclass(frozen=True)
class Claims:
    """Claims of a token, none of them verified.

    Attributes:
        subject: Whose token it says it is; empty if it does not say.
        audiences: Whom it says it is for.
        expires_at: When it says it ends, in seconds since the epoch, or None.
    """

    subject: str
    audiences: tuple[str, ...]
    expires_at: float | None


def digest_token(token: str) -> bytes:
    """Gives what stands for a token wherever it is remembered."""
    return hashlib.sha256(token.encode()).digest()


def read_claims(token: str) -> Claims:
    """Reads the claims of a JSON Web Token, verifying nothing.

    Raises:
        ValueError: If it is none; the message does not show the token.
    """
    parts = token.split(".")
    if len(token) > _MAX_CHARACTERS or len(parts) != 3 or not all(parts):
        raise ValueError("it is not a JSON Web Token")
    try:
        padded = parts[1] + "=" * (-len(parts[1]) % 4)
        payload = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (binascii.Error, ValueError, RecursionError):
        # Not chained: the cause quotes what could not be read.
        raise ValueError("its claims cannot be read") from None
    if not isinstance(payload, dict):
        raise ValueError("its claims cannot be read")
    subject, audience, end = (payload.get(name) for name in ("sub", "aud", "exp"))
    listed = audience if isinstance(audience, list) else [audience]
    return Claims(
        subject=subject if isinstance(subject, str) else "",
        audiences=tuple(item for item in listed if isinstance(item, str)),
        expires_at=_read_seconds(end),
    )


def _read_seconds(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    # Also compares where a conversion to float would overflow.
    return float(value) if abs(value) < _LAST_SECOND else None
