"""Amounts of resources as Kubernetes writes them: `1`, `500m`, `2k`, `1e3`, `4Gi`."""

import re
from fractions import Fraction

_FORM = re.compile(
    r"([+-]?)([0-9]{1,20})(?:\.([0-9]{0,20}))?(?:[eE]([+-]?[0-9]{1,2})|([numkMGTPE]|[KMGTPE]i))?"
)
_DECIMAL = {"n": -9, "u": -6, "m": -3, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}


def parse_quantity(text: str) -> Fraction:
    """Reads an amount.

    Raises:
        ValueError: If it is none.
    """
    found = _FORM.fullmatch(text)
    if found is None:
        raise ValueError(f"{text[:40]!r} is no amount; expected a number such as 1")
    sign, whole, rest, exponent, suffix = found.groups()
    digits = rest or ""
    value = Fraction(int(whole + digits), 10 ** len(digits))
    if exponent:
        value *= Fraction(10) ** int(exponent)
    elif suffix in _BINARY:
        value *= 2 ** _BINARY[suffix]
    elif suffix:
        value *= Fraction(10) ** _DECIMAL[suffix]
    return -value if sign == "-" else value
