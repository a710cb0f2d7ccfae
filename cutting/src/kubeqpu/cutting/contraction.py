"""Contracts the tensors of fragments with the coefficients of the cuts.

E[t] = Σ Π_cuts C[i, j] · Π_fragments T[i, ..., t]: one network for all Pauli terms t at once, in an
order chosen by opt_einsum. The gradient with respect to a fragment's tensor is the same network
without that fragment.
"""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import opt_einsum

from kubeqpu.cutting.fragments import Fragment
from kubeqpu.cutting.maps import Cut

FloatArray = npt.NDArray[np.float64]


class Network:
    """The tensor network of a plan."""

    def __init__(self, cuts: Sequence[Cut], fragments: Sequence[Fragment]) -> None:
        """Names the indices.

        Args:
            cuts: All cuts.
            fragments: All fragments; each tensor has its ends' maps and then observables as axes.
        """
        self._fragments = fragments
        self._matrices = [cut.matrix for cut in cuts]
        # Finding a good order costs more than contracting small networks, so orders are kept.
        self._expressions: dict[int | None, Callable[..., FloatArray]] = {}
        # Index 0 runs over Pauli terms; cut c has indices 2c + 1 and 2c + 2.
        self._cut_indices = [[2 * cut + 1, 2 * cut + 2] for cut in range(len(cuts))]
        self._indices = [
            [2 * end.cut + end.side + 1 for end in fragment.ends] + [0] for fragment in fragments
        ]

    def values(self, tensors: Sequence[FloatArray]) -> FloatArray:
        """Returns the expectation value of each Pauli term.

        Args:
            tensors: Tensor of each fragment, shape (maps of each end..., observables).
        """
        return self._contract(self._by_term(tensors), None, [0])

    def gradients(self, tensors: Sequence[FloatArray]) -> list[FloatArray]:
        """Returns, per fragment, the derivative of each term's value by the tensor's elements.

        Args:
            tensors: Tensor of each fragment, shape (maps of each end..., observables).

        Returns:
            Shape (maps of each end..., terms) each: an element of the tensor contributes to a term
            if its observable is the term's.
        """
        batched = self._by_term(tensors)
        return [
            np.ascontiguousarray(self._contract(batched, left_out, indices))
            for left_out, indices in enumerate(self._indices)
        ]

    def _by_term(self, tensors: Sequence[FloatArray]) -> list[FloatArray]:
        return [
            np.take(tensor, fragment.terms, axis=-1)
            for tensor, fragment in zip(tensors, self._fragments, strict=True)
        ]

    def _contract(
        self, batched: Sequence[FloatArray], left_out: int | None, output: list[int]
    ) -> FloatArray:
        included = [index for index in range(len(batched)) if index != left_out]
        operands = [batched[index] for index in included] + self._matrices
        inputs = [self._indices[index] for index in included] + self._cut_indices
        if not included:
            # A single fragment: its gradient does not depend on the term.
            operands, inputs = [*operands, np.ones(batched[0].shape[-1])], [*inputs, [0]]
        if left_out not in self._expressions:
            equation = ",".join(map(_letters, inputs)) + "->" + _letters(output)
            shapes = [operand.shape for operand in operands]
            self._expressions[left_out] = opt_einsum.contract_expression(equation, *shapes)
        return np.asarray(self._expressions[left_out](*operands), dtype=np.float64)


def _letters(indices: Sequence[int]) -> str:
    return "".join(opt_einsum.get_symbol(index) for index in indices)
