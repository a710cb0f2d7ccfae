"""Durations as the API objects write them: `90s`, `24h`, `1h30m`."""

import re
from datetime import timedelta
from typing import Annotated

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

# The Gateway API's format (GEP-2257): a subset of Go's that every parser agrees on.
PATTERN = r"^([0-9]{1,5}(h|m|s|ms)){1,4}$"
_MILLISECONDS = {"h": 3_600_000, "m": 60_000, "s": 1000, "ms": 1}
_PART = re.compile(r"([0-9]{1,5})(ms|h|m|s)")


def parse_duration(text: object) -> timedelta:
    """Reads a duration.

    Args:
        text: Such as `1h30m`; a timedelta is returned as it is.

    Raises:
        ValueError: If it is no such text.
    """
    if isinstance(text, timedelta):
        return text
    if not isinstance(text, str) or not re.fullmatch(PATTERN, text):
        raise ValueError(
            f"{text!r} is not a duration; expected whole numbers with units h, m, s or ms, such "
            "as 90s or 1h30m"
        )
    parts = _PART.findall(text)
    return timedelta(milliseconds=sum(int(count) * _MILLISECONDS[unit] for count, unit in parts))


def format_duration(value: timedelta) -> str:
    """Writes a duration, to the millisecond, in the fewest parts: `90m` becomes `1h30m`.

    Raises:
        ValueError: If it is negative or longer than 99999 h, which the format cannot express.
    """
    left = round(value / timedelta(milliseconds=1))
    if not 0 <= left < 100_000 * _MILLISECONDS["h"]:
        raise ValueError(f"{value} cannot be written as a duration; expected 0 s to 99999 h")
    text = ""
    for unit, size in _MILLISECONDS.items():
        count, left = divmod(left, size)
        text += f"{count}{unit}" if count else ""
    return text or "0s"


Duration = Annotated[
    timedelta,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration),
    WithJsonSchema({"type": "string", "pattern": PATTERN, "maxLength": 32}),
]
