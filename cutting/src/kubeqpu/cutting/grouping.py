"""Sets of observables that one measurement basis per qubit tells at once."""

from collections.abc import Sequence


def group_observables(labels: Sequence[str]) -> list[str]:
    """Finds measurement bases, one Pauli per qubit, that tell all observables.

    Greedy, widest observable first. Qubits a group does not need get a basis all the same, one that
    an observable uses, so that more observables can be told by more than one group.

    Args:
        labels: Pauli labels, rightmost character on qubit 0.

    Returns:
        Bases as strings of X, Y and Z with the *first* character on qubit 0; at least one.
    """
    width = len(labels[0])
    groups: list[list[str]] = []
    for label in sorted(labels, key=lambda item: (item.count("I"), item)):
        paulis = label[::-1]
        for group in groups:
            if all(
                "I" in (mine, its) or mine == its for mine, its in zip(group, paulis, strict=True)
            ):
                group[:] = [
                    its if mine == "I" else mine for mine, its in zip(group, paulis, strict=True)
                ]
                break
        else:
            groups.append(list(paulis))
    usual = [next((group[q] for group in groups if group[q] != "I"), "Z") for q in range(width)]
    filled = [
        "".join(mine if mine != "I" else usual[qubit] for qubit, mine in enumerate(group))
        for group in groups
    ]
    return list(dict.fromkeys(filled))


def is_measured_by(label: str, group: str) -> bool:
    """Tells whether an observable can be read from a group's outcomes."""
    return all(mine in ("I", its) for mine, its in zip(reversed(label), group, strict=True))
