"""A right in use: asked for again in time, and not for longer than it may stay unproven."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubeqpu.qpu_gateway.access.cluster import CHECK_SECONDS
from kubeqpu.qpu_gateway.access.control import StandingRight
from kubeqpu.qpu_gateway.errors import ClusterUnavailableError, PermissionDeniedError

UP, AWAY, GONE = "up", "away", "gone"


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Question:
    def __init__(self) -> None:
        self.answer = UP
        self.asked = 0

    async def __call__(self) -> None:
        self.asked += 1
        if self.answer == AWAY:
            raise ClusterUnavailableError("away")
        if self.answer == GONE:
            raise PermissionDeniedError("gone")


async def test_it_is_asked_for_once_per_interval() -> None:
    clock, question = Clock(), Question()
    right = StandingRight(question, CHECK_SECONDS, clock)
    assert 16.0 <= right.idle_seconds <= 20.0
    for second in range(251):
        clock.now = float(second)
        await right.check()
    assert 12 <= question.asked <= 16


async def test_an_outage_is_tolerated_for_a_while_only() -> None:
    clock, question = Clock(), Question()
    right = StandingRight(question, CHECK_SECONDS, clock)
    question.answer = AWAY

    async def use() -> None:
        while clock.now < 100:
            clock.now += right.idle_seconds
            await right.check()

    with pytest.raises(ClusterUnavailableError):
        await use()
    assert 25 <= clock.now <= 30
    assert question.asked >= 2


@given(
    # An outage begins before or after the right goes, and may end.
    gone_at=st.floats(0, 100),
    away_at=st.floats(0, 150),
    away_seconds=st.floats(0, 60),
)
async def test_a_right_that_is_gone_ends_within_the_bound(
    gone_at: float, away_at: float, away_seconds: float
) -> None:
    clock, question = Clock(), Question()
    right = StandingRight(question, CHECK_SECONDS, clock)
    ended_at = None
    while ended_at is None and clock.now < 400:
        clock.now += max(0.01, right.idle_seconds)
        question.answer = GONE if clock.now >= gone_at else UP
        if away_at <= clock.now < away_at + away_seconds:
            question.answer = AWAY
        try:
            await right.check()
        except (PermissionDeniedError, ClusterUnavailableError):
            ended_at = clock.now
    assert ended_at is not None
    # To this, the API server's memory and the gateway's add ten seconds each, and a slow last
    # answer five.
    assert ended_at - gone_at <= 30.1
