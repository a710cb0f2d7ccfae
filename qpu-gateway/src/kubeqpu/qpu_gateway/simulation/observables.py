"""Observables grouped into bases in which several Pauli strings are read from the same shots."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kubeqpu.proto.v1 import gateway_pb2


@dataclass(frozen=True)
class MeasurementGroup:
    """Pauli strings that commute qubit by qubit, read in one basis.

    Attributes:
        bases: Qubit → "X", "Y" or "Z"; the j-th in ascending order of qubits is outcome bit j.
        supports: For each string of the group, of shape (strings, bits): 1 where it acts.
        weights: Coefficient of each string in each observable, of shape (observables, strings).
    """

    bases: dict[int, str]
    supports: NDArray[np.uint8]
    weights: NDArray[np.float64]

    def estimate(
        self, bits: NDArray[np.uint8], counts: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Estimates the group's part of each observable.

        Args:
            bits: Outcomes, of shape (outcomes, bits).
            counts: How often each occurred.

        Returns:
            Means over shots, and their variances, of shape (observables,). A shot gives one value
            of the whole part, so covariances within the group are included.
        """
        parities = (bits.astype(np.int64) @ self.supports.T.astype(np.int64)) & 1
        values = self.weights @ (1.0 - 2.0 * parities).T
        shots = counts.sum()
        means = values @ counts / shots
        spread = (values - means[:, None]) ** 2 @ counts
        return means, spread / (shots * max(shots - 1, 1))


@dataclass(frozen=True)
class GroupedObservables:
    """Observables as constants plus groups.

    Attributes:
        constants: Weight of the identity in each observable.
        groups: All other strings.
    """

    constants: NDArray[np.float64]
    groups: tuple[MeasurementGroup, ...]


def group_observables(observables: Sequence[gateway_pb2.Observable]) -> GroupedObservables:
    """Groups the strings of all observables greedily, those that act on most qubits first.

    Depends on the observables alone, and is the same in every run.
    """
    constants = np.zeros(len(observables))
    weights: dict[str, NDArray[np.float64]] = {}
    for index, observable in enumerate(observables):
        for term in observable.terms:
            if set(term.pauli) <= {"I"}:
                constants[index] += term.coefficient
            else:
                row = weights.setdefault(term.pauli, np.zeros(len(observables)))
                row[index] += term.coefficient
    strings = sorted((s for s in weights if weights[s].any()), key=lambda s: (s.count("I"), s))
    collected: list[tuple[dict[int, str], list[str]]] = []
    for string in strings:
        bases = {qubit: letter for qubit, letter in enumerate(string[::-1]) if letter != "I"}
        for group_bases, members in collected:
            if all(group_bases.get(qubit, letter) == letter for qubit, letter in bases.items()):
                group_bases.update(bases)
                members.append(string)
                break
        else:
            collected.append((bases, [string]))
    return GroupedObservables(constants, tuple(_group(*found, weights) for found in collected))


def _group(
    bases: dict[int, str], strings: list[str], weights: dict[str, NDArray[np.float64]]
) -> MeasurementGroup:
    qubits = sorted(bases)
    supports = [[string[::-1][qubit] != "I" for qubit in qubits] for string in strings]
    return MeasurementGroup(
        bases={qubit: bases[qubit] for qubit in qubits},
        supports=np.array(supports, dtype=np.uint8),
        weights=np.stack([weights[string] for string in strings], axis=1),
    )
