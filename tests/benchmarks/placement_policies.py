"""Ways to choose a QPU for a pod, from nothing but what the QPUs' statuses say."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from kubeqpu.common.placement import CircuitShape, PlacementClass, Weights, place
from kubeqpu.common.qpu import QPU


@dataclass(frozen=True)
class Candidate:
    """A QPU with a free slot.

    Attributes:
        qpu: What its status says, which is all that the extender knows.
        held: Slots held at this moment, which the scheduler counts itself.
    """

    qpu: QPU
    held: int


# Chooses one of the QPUs that have a free slot; there is at least one.
Choose: TypeAlias = Callable[
    [Sequence[Candidate], CircuitShape | None, datetime, random.Random], str
]

# The extender's answer is a whole number up to this; the scheduler sees no finer difference.
RESOLUTION = 10


@dataclass(frozen=True)
class Policy:
    """A way to choose.

    Attributes:
        name: Name in reports.
        choose: The choice.
        weights: Weights of the score, if it is used.
    """

    name: str
    choose: Choose
    weights: Weights | None = None


def choose_blindly(
    free: Sequence[Candidate], _: CircuitShape | None, __: datetime, generator: random.Random
) -> str:
    """Takes any: nodes that differ in nothing the default scheduler knows are drawn by chance."""
    return generator.choice(free).qpu.name


def choose_least_allocated(
    free: Sequence[Candidate], _: CircuitShape | None, __: datetime, generator: random.Random
) -> str:
    """Takes the smallest share of held slots, by chance among equals."""
    return generator.choice(_least_allocated(free)).qpu.name


def choose_by_score(weights: Weights) -> Choose:
    """Makes a choice by score, as the extender and the scheduler make it together.

    The extender tells the scheduler each score in tenths of the best. Among those that share the
    top, the scheduler's own plugins decide: the smallest share of held slots, then chance.
    """
    wanted = PlacementClass(weights=weights)

    def choose(
        free: Sequence[Candidate],
        shape: CircuitShape | None,
        now: datetime,
        generator: random.Random,
    ) -> str:
        scores = place((candidate.qpu for candidate in free), wanted, now, shape).scores
        best = scores[0].total
        top = {item.qpu for item in scores if round(RESOLUTION * item.total / best) == RESOLUTION}
        equals = [candidate for candidate in free if candidate.qpu.name in top]
        return generator.choice(_least_allocated(equals)).qpu.name

    return choose


def _least_allocated(free: Sequence[Candidate]) -> list[Candidate]:
    least = min(candidate.held / candidate.qpu.slots for candidate in free)
    return [candidate for candidate in free if candidate.held / candidate.qpu.slots == least]


def by_weights(name: str, weights: Weights) -> Policy:
    """Makes a policy that chooses by score."""
    return Policy(name, choose_by_score(weights), weights)


BLIND = Policy("blind", choose_blindly)
LEAST_ALLOCATED = Policy("least allocated", choose_least_allocated)
QUEUE_ONLY = by_weights("queue only", Weights(1, 0, 0, 0))
FIDELITY_ONLY = by_weights("fidelity only", Weights(0, 1, 0, 0))
KUBEQPU = by_weights("kubeqpu", Weights())
# Weight of fidelity against a wait of 1; freshness and utilisation as in the default.
SWEEP = tuple(
    by_weights(f"fidelity {weight:g}", Weights(fidelity=weight))
    for weight in (0.25, 0.5, 2.0, 3.0, 4.0, 6.0, 8.0, 16.0)
)
NAMED = (BLIND, LEAST_ALLOCATED, QUEUE_ONLY, FIDELITY_ONLY, KUBEQPU)
POLICIES = NAMED + SWEEP
