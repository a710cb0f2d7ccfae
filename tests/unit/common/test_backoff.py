import random

from kubeqpu.common.backoff import LONGEST_RETRY_SECONDS, Backoff, choose_retry_seconds


def test_retries_wait_longer_each_time_up_to_a_limit() -> None:
    generator = random.Random(1)
    waits = [choose_retry_seconds(attempt, generator) for attempt in range(1, 60)]
    assert 0.125 <= waits[0] <= 0.25
    assert waits[4] > 2 * waits[0]
    assert all(15 <= wait <= LONGEST_RETRY_SECONDS for wait in waits[10:])


def test_a_failure_during_the_wait_is_the_same_failure() -> None:
    now = 0.0
    backoff = Backoff(longest_seconds=1.0, clock=lambda: now)
    first = backoff.fail()
    assert backoff.fail() == first
    assert backoff.failures == 1
    now += first
    assert backoff.seconds_left == 0
    assert backoff.fail() > 0
    assert backoff.failures == 2
    backoff.succeed()
    assert backoff.failures == 0
