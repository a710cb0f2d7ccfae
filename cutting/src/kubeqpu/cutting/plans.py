"""A plan: everything needed to run a cut circuit, as plain data that can be written as JSON."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np
import numpy.typing as npt
from pydantic import ConfigDict, TypeAdapter

from kubeqpu.common.placement import CircuitShape
from kubeqpu.cutting.experiments import count_rows
from kubeqpu.cutting.fragments import Fragment
from kubeqpu.cutting.maps import Cut, EndKind
from kubeqpu.cutting.observables import Observable

FORMAT = "kubeqpu.io/cutting-plan/v1"


@dataclass(frozen=True)
class Plan:
    """How a circuit is cut.

    Attributes:
        format: Name of this format.
        circuit_digest: "sha256:" and the digest of the circuit as given.
        num_qubits: Its width.
        observables: What is wanted.
        terms: The distinct Pauli labels they consist of, the identity left out.
        cuts: The cuts.
        fragments: The fragments.
        limits: The widths that were available, widest first; one alone holds for all fragments.
        method: Which search found the cuts.
    """

    format: str
    circuit_digest: str
    num_qubits: int
    observables: tuple[Observable, ...]
    terms: tuple[str, ...]
    cuts: tuple[Cut, ...]
    fragments: tuple[Fragment, ...]
    limits: tuple[int, ...]
    method: str

    __pydantic_config__ = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")

    @property
    def kappa_squared(self) -> float:
        """Factor by which cutting multiplies the shots needed for the same error."""
        return prod(cut.kappa for cut in self.cuts) ** 2

    @property
    def rows(self) -> tuple[int, ...]:
        """Local experiments of each fragment, at most."""
        return tuple(count_rows(fragment, self.cuts) for fragment in self.fragments)

    @cached_property
    def weights(self) -> npt.NDArray[np.float64]:
        """Coefficients of the terms in the observables, shape (observables, terms)."""
        index = {label: number for number, label in enumerate(self.terms)}
        weights = np.zeros((len(self.observables), len(self.terms)))
        for row, observable in enumerate(self.observables):
            for label, coefficient in observable.terms:
                if label in index:
                    weights[row, index[label]] += coefficient
        return weights

    @cached_property
    def constants(self) -> npt.NDArray[np.float64]:
        """What the identity contributes to each observable."""
        identity = "I" * self.num_qubits
        return np.array(
            [
                sum(value for label, value in item.terms if label == identity)
                for item in self.observables
            ],
            dtype=np.float64,
        )

    @property
    def digest(self) -> str:
        """Digest of the plan's JSON form."""
        return "sha256:" + hashlib.sha256(self.to_json()).hexdigest()

    def shape(self, fragment: int) -> CircuitShape:
        """Returns the size of a fragment as placement wants it."""
        part = self.fragments[fragment]
        observed = sum(
            any(label[-1 - qubit] != "I" for label in part.observables)
            for qubit in range(part.num_qubits)
        )
        read = sum(end.kind is EndKind.SOURCE for end in part.ends)
        return CircuitShape(part.two_qubit_gates, max(1, observed + read))

    def predict_standard_error(self, shots: int) -> float:
        """Estimates the standard error of a Pauli observable before anything is run.

        κ √(fragments / shots): the error of sampling the decomposition at full variance, with the
        shots divided evenly. Enumerating and allocating by variance stays below it as a rule.

        Args:
            shots: Shots of all fragments together.
        """
        return float(np.sqrt(self.kappa_squared * len(self.fragments) / shots))

    def describe(self, shots: int = 100_000) -> str:
        """Says in words what the plan is and what it costs at a budget of shots."""
        from kubeqpu.cutting.description import describe  # noqa: PLC0415 - it needs this module

        return describe(self, shots)

    def to_json(self) -> bytes:
        """Writes the plan as JSON; equal plans give equal bytes."""
        return _ADAPTER.dump_json(self)

    @classmethod
    def from_json(cls, document: bytes | str) -> "Plan":
        """Reads a plan that `to_json` wrote.

        Raises:
            pydantic.ValidationError: If it is none.
        """
        return _ADAPTER.validate_json(document)


_ADAPTER = TypeAdapter(Plan)
