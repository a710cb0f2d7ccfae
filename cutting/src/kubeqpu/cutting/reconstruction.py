"""From what fragments measured to expectation values with error bars."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kubeqpu.cutting.contraction import Network
from kubeqpu.cutting.estimates import FragmentEstimate, element_gradients
from kubeqpu.cutting.experiments import Experiments
from kubeqpu.cutting.histograms import Histogram, ReadoutError
from kubeqpu.cutting.plans import Plan

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class FragmentSamples:
    """Everything measured of one fragment.

    Attributes:
        histograms: One per block, rounds pooled.
        readout: Confusion of the classical bits per block; None counts outcomes as read.
    """

    histograms: tuple[Histogram, ...]
    readout: tuple[tuple[ReadoutError, ...], ...] | None = None


@dataclass(frozen=True)
class Estimates:
    """Values of a plan's observables.

    Attributes:
        values: Shape (observables,).
        standard_errors: Shape (observables,); statistical only, 0 in exact mode.
        contributions: Per fragment and block what each row contributes to the variances, shape
            (rows, observables).
    """

    values: FloatArray
    standard_errors: FloatArray
    contributions: tuple[tuple[FloatArray, ...], ...] = ()


def reconstruct(
    plan: Plan,
    experiments: Sequence[Experiments],
    samples: Sequence[FragmentSamples],
    network: Network | None = None,
) -> Estimates:
    """Puts sampled fragments together.

    The result is multilinear in the fragments' tensors, so its error follows from its gradient (the
    delta method), taken once per row however many terms use it.

    Args:
        plan: The plan.
        experiments: Experiments of each fragment.
        samples: What was measured of each fragment.
        network: The plan's network, if there is one already.
    """
    network = network or Network(plan.cuts, plan.fragments)
    estimates = [
        FragmentEstimate(item, part.histograms, part.readout)
        for item, part in zip(experiments, samples, strict=True)
    ]
    tensors = [estimate.tensor for estimate in estimates]
    if not plan.terms:
        return Estimates(plan.constants.copy(), np.zeros_like(plan.constants))
    gradients = network.gradients(tensors)
    # Linear in each tensor: the value is any one of them times its gradient.
    chosen = np.take(tensors[0], plan.fragments[0].terms, axis=-1)
    by_term = (gradients[0] * chosen).reshape(-1, len(plan.terms)).sum(axis=0)
    contributions = []
    variances = np.zeros(len(plan.observables))
    for estimate, fragment, gradient in zip(estimates, plan.fragments, gradients, strict=True):
        slopes = element_gradients(
            gradient, fragment.terms, len(fragment.observables), plan.weights
        )
        parts = tuple(estimate.variances(slopes))
        contributions.append(parts)
        variances += sum((part.sum(axis=0) for part in parts), np.zeros_like(variances))
    values = plan.constants + plan.weights @ by_term
    return Estimates(values, np.sqrt(variances), tuple(contributions))


def reconstruct_exact(plan: Plan, tensors: Sequence[FloatArray]) -> Estimates:
    """Puts exactly known fragments together."""
    values = plan.constants.copy()
    if plan.terms:
        values += plan.weights @ Network(plan.cuts, plan.fragments).values(tensors)
    return Estimates(values, np.zeros_like(values))


def exact_tensor(experiments: Experiments, values: Sequence[FloatArray]) -> FloatArray:
    """Arranges expectation values, per block of shape (rows, observables), as a tensor."""
    tensor = np.zeros(int(np.prod(experiments.shape)))
    tensor[experiments.ones] = 1.0
    for block, found in zip(experiments.blocks, values, strict=True):
        tensor[block.elements] = found
    return tensor.reshape(experiments.shape)
