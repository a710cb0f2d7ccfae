"""What a pod adds to its class, as it writes it in its annotations."""

from dataclasses import replace

from kubeqpu.common.placement.policy import CircuitShape, PlacementClass

# Far above any circuit, and exact as a float.
_MOST = 10**9


def parse_circuit_shape(text: str) -> CircuitShape:
    """Reads a circuit's shape: `<two-qubit gates>,<measurements>`, such as `50,10`.

    Raises:
        ValueError: If it is none.
    """
    parts = [_parse_count(part.strip()) for part in text.split(",")]
    match parts:
        case [int(gates), int(measurements)]:
            return CircuitShape(gates, measurements)
        case _:
            raise ValueError(
                f"{_quote(text)} is no circuit shape; expected the number of two-qubit gates and "
                f"the number of measurements, each 0 to {_MOST}, such as 50,10"
            )


def parse_min_qubits(text: str) -> int:
    """Reads the smallest acceptable width.

    Raises:
        ValueError: If it is none.
    """
    count = _parse_count(text.strip())
    if not count:
        raise ValueError(
            f"{_quote(text)} is no number of qubits; expected a whole number, 1 to {_MOST}"
        )
    return count


def raise_min_qubits(wanted: PlacementClass, min_qubits: int) -> PlacementClass:
    """Gives a class that asks for at least so many qubits, and else for the same."""
    if min_qubits <= wanted.requirements.min_qubits:
        return wanted
    return replace(wanted, requirements=replace(wanted.requirements, min_qubits=min_qubits))


def _parse_count(text: str) -> int | None:
    # Python's own int() takes signs, underscores and the digits of every script.
    if not text.isascii() or not text.isdigit() or len(text) > len(str(_MOST)):
        return None
    count = int(text)
    return count if count <= _MOST else None


def _quote(text: str) -> str:
    return repr(text if len(text) <= 40 else f"{text[:40]}…")
