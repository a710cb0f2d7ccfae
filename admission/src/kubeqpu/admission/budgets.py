"""Whether a namespace has used what it may use: a decision from its quotas, as plain data.

The figures are the gateways', which keep the ledger and reserve from it when a job is submitted.
Here only those wait whose job would be refused at once.
"""

from collections.abc import Iterable, Iterator

from kubeqpu.admission.outlooks import Ground
from kubeqpu.common import api
from kubeqpu.common.api.durations import format_duration
from kubeqpu.common.qpu import ConditionStatus

BUDGET_SPENT = "BudgetSpent"
EXHAUSTED = "Exhausted"


def find_spent(quotas: Iterable[api.QPUQuota]) -> tuple[Ground, ...]:
    """Finds which quotas of a namespace are spent, in the order of their names.

    Args:
        quotas: All quotas of one namespace; each of them holds.

    Returns:
        One ground for each spent quota; none where there is something left of all of them.
    """
    ordered = sorted(quotas, key=lambda quota: quota.metadata.name)
    return tuple(ground for quota in ordered if (ground := _judge(quota)) is not None)


def _judge(quota: api.QPUQuota) -> Ground | None:
    figures = tuple(_figures(quota))
    reached = [text for text, share in figures if share >= 1.0]
    window = format_duration(quota.spec.window)
    name = f"QPUQuota {quota.metadata.name}"
    if reached:
        said = f"{name} is spent: {' and '.join(reached)} used within {window}"
    elif _says_exhausted(quota):
        # What is left is too little for anything, as its ledger sees it.
        nearest = max(figures, key=lambda figure: figure[1], default=("its limit", 0.0))
        said = f"{name} says that it is exhausted: {nearest[0]} used within {window}"
    else:
        return None
    return Ground(
        BUDGET_SPENT,
        f"{said}. It waits until enough of that is older than {window}, or the limit is raised.",
    )


def _figures(quota: api.QPUQuota) -> Iterator[tuple[str, float]]:
    """Yields what is used of each limit: in words, and as a share of it."""
    hard, used = quota.spec.hard, quota.status.used
    for unit, limit, spent in (
        ("QPU seconds", hard.qpu_seconds, used.qpu_seconds),
        ("shots", hard.shots, used.shots),
        ("jobs", hard.jobs, used.jobs),
    ):
        if limit is not None:
            share = spent / limit if limit > 0 else 1.0
            # Rounding must not make a share of what is not quite reached a whole one.
            whole = spent >= limit
            yield f"{spent:g} of {limit:g} {unit}", max(share, 1.0) if whole else min(share, 0.999)


def _says_exhausted(quota: api.QPUQuota) -> bool:
    """Tells what its condition says, where that belongs to the spec as it is."""
    if quota.status.observed_generation != quota.metadata.generation:
        return False
    return any(
        one.type == EXHAUSTED and one.status is ConditionStatus.TRUE
        for one in quota.status.conditions
    )
