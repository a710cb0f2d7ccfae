"""Observables as weighted sums of Pauli strings."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from qiskit.quantum_info import Pauli, PauliList, SparsePauliOp

from kubeqpu.cutting.errors import InvalidInputError

ObservableLike: TypeAlias = str | Pauli | SparsePauliOp
ObservablesLike: TypeAlias = (
    ObservableLike | PauliList | Sequence[ObservableLike] | Mapping[str, ObservableLike]
)

_NUMBER = r"(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?"
_SUMMAND = re.compile(
    rf"\s*(?P<sign>[+-])?\s*(?:(?P<number>{_NUMBER})\s*\*?\s*)?(?P<paulis>(?:[IXYZ]\d+\s*)+|[IXYZ]+)?\s*"
)


@dataclass(frozen=True)
class Observable:
    """A Hermitian operator.

    Attributes:
        name: What results call it.
        terms: Pauli labels over all qubits (rightmost character on qubit 0) and coefficients.
    """

    name: str
    terms: tuple[tuple[str, float], ...]


def read_observables(given: ObservablesLike, num_qubits: int) -> tuple[Observable, ...]:
    """Reads observables in any of their spellings.

    Args:
        given: One or several: a Pauli label ("ZZI"), a sum over numbered qubits ("Z0 Z20" or
            "0.5 Z0 Z1 - X2"), a `Pauli`, a `SparsePauliOp`; or names with these. A `PauliList` is
            one observable for each of its members.
        num_qubits: Width of the circuit.

    Raises:
        InvalidInputError: If there is none, or one does not fit the circuit.
    """
    named: list[tuple[str, ObservableLike]]
    if isinstance(given, Mapping):
        named = list(given.items())
    elif isinstance(given, str | Pauli | SparsePauliOp):
        named = [("", given)]
    else:
        named = [("", item) for item in given]
    if not named:
        raise InvalidInputError("There are no observables. Give at least one, such as 'Z0 Z1'.")
    observables = tuple(_read(name, item, num_qubits) for name, item in named)
    names = [observable.name for observable in observables]
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InvalidInputError(f"Observable {twice} is given twice. Give each one once.")
    return observables


def collect_terms(observables: Sequence[Observable]) -> tuple[str, ...]:
    """Lists the distinct Pauli labels of observables, the identity left out."""
    labels = dict.fromkeys(label for observable in observables for label, _ in observable.terms)
    return tuple(label for label in labels if set(label) != {"I"})


def _read(name: str, item: ObservableLike, num_qubits: int) -> Observable:
    if isinstance(item, str):
        pairs, name = _parse(item, num_qubits), name or item.strip()
    else:
        operator = item if isinstance(item, SparsePauliOp) else SparsePauliOp(item)
        pairs = []
        for label, coefficient in operator.to_list():
            if abs(complex(coefficient).imag) > 1e-12:
                raise InvalidInputError(
                    f"Observable {name or label} has the coefficient {coefficient}; an observable "
                    "is Hermitian, so give real ones."
                )
            pairs.append((label, float(complex(coefficient).real)))
        name = name or (
            pairs[0][0] if len(pairs) == 1 and pairs[0][1] == 1.0 else str(_spell(pairs))
        )
    terms: dict[str, float] = {}
    for label, coefficient in pairs:
        if len(label) != num_qubits:
            raise InvalidInputError(
                f"Observable {name} acts on {len(label)} qubits, but the circuit has {num_qubits}. "
                "Write one letter per qubit, or number them: 'Z0 Z1'."
            )
        if not math.isfinite(coefficient):
            raise InvalidInputError(f"Observable {name} has the coefficient {coefficient}.")
        terms[label] = terms.get(label, 0.0) + coefficient
    return Observable(name, tuple(terms.items()))


def _spell(pairs: Sequence[tuple[str, float]]) -> str:
    return " + ".join(f"{coefficient:g} {label}" for label, coefficient in pairs)


def _parse(text: str, num_qubits: int) -> list[tuple[str, float]]:
    """Parses sums such as "0.5 Z0 Z1 - X2" or "ZZI + 0.1 XII"."""
    pairs = []
    position = 0
    stripped = text.strip()
    while position < len(stripped):
        match = _SUMMAND.match(stripped, position)
        empty = match is None or (match["number"] is None and match["paulis"] is None)
        if match is None or empty or (position and match["sign"] is None):
            raise InvalidInputError(
                f"Observable '{text}' cannot be read at '{stripped[position:][:20]}'. Write a "
                "Pauli label such as 'ZZI', or a sum such as '0.5 Z0 Z1 - X2'."
            )
        coefficient = float(match["number"] or 1.0) * (-1.0 if match["sign"] == "-" else 1.0)
        pairs.append((_label(match["paulis"] or "", num_qubits, text), coefficient))
        position = match.end()
    if not pairs:
        raise InvalidInputError("An observable is empty. Give one such as 'Z0 Z1'.")
    return pairs


def _label(paulis: str, num_qubits: int, text: str) -> str:
    if paulis and not any(character.isdigit() for character in paulis):
        return paulis.strip()
    letters = ["I"] * num_qubits
    seen: set[int] = set()
    for pauli, number in re.findall(r"([IXYZ])(\d+)", paulis):
        qubit = int(number)
        if qubit >= num_qubits or qubit in seen:
            reason = "is named twice" if qubit in seen else f"is not below {num_qubits}"
            raise InvalidInputError(f"Observable '{text}': qubit {qubit} {reason}.")
        seen.add(qubit)
        letters[-1 - qubit] = pauli
    return "".join(letters)
