"""Quotas rise at once and fall late."""

import math

from hypothesis import given
from hypothesis import strategies as st

from kubeqpu.admission.pool.levels import Level, find_next, observe, observe_all, recall
from kubeqpu.admission.pool.slots import Count, Pair

LOWER = 30.0

courses = st.lists(
    st.tuples(st.integers(1, 40), st.integers(0, 6), st.integers(0, 3)), min_size=1, max_size=40
)


@given(courses)
def test_quota_is_the_most_of_the_last_seconds(course: list[tuple[int, int, int]]) -> None:
    level: Level | None = None
    now = 0
    # When each number of slots began.
    seen: list[tuple[int, int]] = []
    for pause, usable, stranded in course:
        now += pause
        level = observe(level, Count(usable, stranded), now, LOWER)
        seen.append((now, usable))
        ends = [begun for begun, _ in seen[1:]]
        lately = [slots for (_, slots), end in zip(seen, [*ends, math.inf], strict=True)
                  if end > now - LOWER]  # fmt: skip
        assert level.quota == max(*lately, usable + stranded)


@given(courses)
def test_quota_never_falls_below_what_there_is(course: list[tuple[int, int, int]]) -> None:
    level: Level | None = None
    now = 0.0
    for pause, usable, stranded in course:
        now += pause
        level = observe(level, Count(usable, stranded), now, LOWER)
        assert level.quota >= usable + stranded
        # Once nothing changes any more it is lowered to it, step by step, when it says so.
        rest, at = level, now
        while (due := find_next([rest], LOWER)) < math.inf:
            assert at <= due <= now + LOWER
            before, at = rest.quota, due
            rest = observe(rest, Count(usable, stranded), at, LOWER)
            assert rest.quota <= before
        assert rest.quota == usable + stranded


@given(st.lists(st.integers(1, 29), min_size=2, max_size=30))
def test_one_that_comes_and_goes_flaps_no_quota(pauses: list[int]) -> None:
    level = observe(None, Count(4), 0, LOWER)
    now = 0.0
    for number, pause in enumerate(pauses):
        now += pause
        level = observe(level, Count(4 if number % 2 else 0), now, LOWER)
        assert level.quota == 4


def test_a_fall_in_steps_is_followed_in_steps() -> None:
    level = observe(None, Count(4), 0, LOWER)
    level = observe(level, Count(3), 10, LOWER)
    level = observe(level, Count(1), 20, LOWER)
    assert (level.quota, find_next([level], LOWER)) == (4, 40)
    level = observe(level, Count(1), 40, LOWER)
    assert (level.quota, find_next([level], LOWER)) == (3, 50)
    assert observe(level, Count(1), 50, LOWER).quota == 1


def test_pods_that_hold_a_lost_qpu_take_no_quota_from_others() -> None:
    # Two QPUs of two slots each; one is lost while pods hold both of its slots.
    level = observe(None, Count(4), 0, LOWER)
    level = observe(level, Count(2, 2), 10, LOWER)
    assert level.quota == 4
    level = observe(level, Count(2, 2), 100, LOWER)
    assert level.quota == 4
    # Their pods end one by one: nobody can have these slots.
    assert observe(level, Count(2, 1), 101, LOWER).quota == 3
    assert observe(level, Count(2, 0), 102, LOWER).quota == 2


def test_quota_that_another_controller_wrote_falls_late_as_well() -> None:
    pair = Pair("kubeqpu.io/qpu", "qpu")
    levels = observe_all({pair: recall(4, 100)}, {pair: Count(1)}, 100, LOWER)
    assert levels[pair].quota == 4
    assert observe_all(levels, {pair: Count(1)}, 130, LOWER)[pair].quota == 1


def test_what_no_queue_names_any_more_is_forgotten_at_once() -> None:
    pair, other = Pair("kubeqpu.io/qpu", "qpu"), Pair("kubeqpu.io/qpu", "other")
    levels = observe_all({}, {pair: Count(4), other: Count(1)}, 0, LOWER)
    assert observe_all(levels, {other: Count(1)}, 1, LOWER).keys() == {other}
