"""How long a client goes on trying, on a clock that the test turns."""

from kubeqpu.client.connection import HELD_SECONDS, LAST_DELAY_SECONDS, Patience


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def wait_out(patience: Patience, clock: Clock, attempt_seconds: float = 0.0) -> list[float]:
    """Fails attempts until the patience is used up; returns the delays."""
    delays = []
    while (delay := patience.next_delay()) is not None:
        delays.append(delay)
        clock.now += delay + attempt_seconds
    return delays


def test_delays_grow_to_their_limit_and_end_on_time() -> None:
    clock = Clock()
    delays = wait_out(Patience(20, clock), clock)
    assert 0.02 < delays[0] <= 0.05
    assert max(delays) <= LAST_DELAY_SECONDS
    assert delays[6] > 0.5
    assert clock.now == 120.0


def test_time_runs_from_the_first_failure_not_from_the_call() -> None:
    clock = Clock()
    patience = Patience(5, clock)
    clock.now += HELD_SECONDS / 2  # a call that took long before it failed
    begin = clock.now
    wait_out(patience, clock)
    assert clock.now - begin == 5


def test_progress_starts_the_clock_afresh() -> None:
    clock = Clock()
    patience = Patience(5, clock)
    wait_out(patience, clock)
    assert patience.next_delay() is None
    patience.renew()
    assert (patience.next_delay() or 0) < 0.06


def test_a_silent_stream_that_was_open_counts_as_progress() -> None:
    clock = Clock()
    patience = Patience(5, clock)
    patience.next_delay()
    clock.now += 3600  # reconnected, and silent for an hour
    delay = patience.next_delay()
    assert delay is not None
    assert delay < 0.06


def test_attempts_that_time_out_in_connecting_are_no_progress() -> None:
    clock = Clock()
    wait_out(Patience(30, clock), clock, attempt_seconds=2.0)
    assert clock.now < 100 + 30 + 2 + LAST_DELAY_SECONDS


def test_no_patience_means_one_attempt() -> None:
    assert Patience(0, Clock()).next_delay() is None
