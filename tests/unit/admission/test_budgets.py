"""Whether a namespace has used what it may use."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubeqpu.admission.budgets import BUDGET_SPENT, EXHAUSTED, find_spent
from kubeqpu.common import api
from kubeqpu.common.api.metadata import Condition, ObjectMeta
from kubeqpu.common.api.qpuquota import HardLimits, QPUQuotaSpec, QPUQuotaStatus, Usage
from kubeqpu.common.qpu import ConditionStatus

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
AMOUNTS = st.integers(0, 5)
LIMITS = st.none() | AMOUNTS
STATUSES = st.sampled_from([None, *ConditionStatus])


def quota(
    name: str = "daily",
    hard: HardLimits | None = None,
    used: Usage | None = None,
    exhausted: ConditionStatus | None = None,
    observed: int | None = 1,
) -> api.QPUQuota:
    condition = exhausted and Condition(
        type=EXHAUSTED, status=exhausted, reason="Told", message="",
        last_transition_time=NOW,
    )  # fmt: skip
    return api.QPUQuota(
        metadata=ObjectMeta(name=name, namespace="lab", generation=1),
        spec=QPUQuotaSpec(hard=hard or HardLimits(jobs=5), window=timedelta(hours=24)),
        status=QPUQuotaStatus(
            observed_generation=observed,
            used=used or Usage(),
            conditions=(condition,) if condition else (),
        ),
    )


def is_spent(*quotas: api.QPUQuota) -> bool:
    return bool(find_spent(quotas))


@pytest.mark.parametrize(
    ("hard", "used", "said"),
    [
        (HardLimits(qpu_seconds=3600), Usage(qpu_seconds=3600.5),
         "3600.5 of 3600 QPU seconds used within 24h"),
        (HardLimits(shots=0), Usage(), "0 of 0 shots used within 24h"),
        (HardLimits(shots=10, jobs=1), Usage(shots=10, jobs=2),
         "10 of 10 shots and 2 of 1 jobs used within 24h"),
    ],
)  # fmt: skip
def test_it_is_said_which_quota_is_spent_by_what(hard: HardLimits, used: Usage, said: str) -> None:
    (ground,) = find_spent([quota(hard=hard, used=used)])
    assert ground.reason == BUDGET_SPENT
    assert ground.message.startswith(f"QPUQuota daily is spent: {said}. It waits until")


def test_what_the_ledger_says_counts_where_it_belongs_to_the_spec() -> None:
    told = quota(used=Usage(jobs=4), exhausted=ConditionStatus.TRUE)
    (ground,) = find_spent([told])
    assert ground.message.startswith(
        "QPUQuota daily says that it is exhausted: 4 of 5 jobs used within 24h."
    )
    # The limit was raised since, and nobody looked at it yet.
    assert not is_spent(quota(used=Usage(jobs=4), exhausted=ConditionStatus.TRUE, observed=0))
    assert not is_spent(quota(used=Usage(jobs=4), exhausted=ConditionStatus.TRUE, observed=None))
    assert is_spent(quota(used=Usage(jobs=5), exhausted=ConditionStatus.FALSE, observed=0))


def test_of_several_quotas_each_holds() -> None:
    spent = [quota("b", used=Usage(jobs=5)), quota("a", used=Usage(jobs=6))]
    found = find_spent([quota("c"), *spent])
    assert [ground.message.split()[1] for ground in found] == ["a", "b"]


@given(
    limits=st.tuples(LIMITS, LIMITS, LIMITS).filter(lambda found: found != (None, None, None)),
    used=st.tuples(AMOUNTS, AMOUNTS, AMOUNTS),
    exhausted=STATUSES,
    observed=st.sampled_from([None, 0, 1]),
)
def test_spent_is_what_reached_a_limit_or_says_so_now(
    limits: tuple[int | None, int | None, int | None],
    used: tuple[int, int, int],
    exhausted: ConditionStatus | None,
    observed: int | None,
) -> None:
    hard = HardLimits(qpu_seconds=limits[0], shots=limits[1], jobs=limits[2])
    found = quota(
        hard=hard,
        used=Usage(qpu_seconds=used[0], shots=used[1], jobs=used[2]),
        exhausted=exhausted,
        observed=observed,
    )
    reached = any(
        limit is not None and spent >= limit for limit, spent in zip(limits, used, strict=True)
    )
    told = exhausted is ConditionStatus.TRUE and observed == 1
    assert is_spent(found) == (reached or told)
    assert all(ground.message.count("24h") == 2 for ground in find_spent([found]))


@given(spent=st.floats(0, 1e9), limit=st.floats(0, 1e9))
def test_no_rounding_takes_a_budget_for_spent_that_is_not(spent: float, limit: float) -> None:
    found = quota(hard=HardLimits(qpu_seconds=limit), used=Usage(qpu_seconds=spent))
    assert is_spent(found) == (spent >= limit)
