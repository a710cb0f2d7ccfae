"""When statuses are written: no change of a condition waits, no number makes a storm."""

from collections import deque
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from kubeqpu.common import api
from kubeqpu.common.qpu import ConditionStatus
from kubeqpu.qpu_gateway.cluster.pacing import Budget, Change, Pacer, compare

RATE, BURST = 4.0, 3.0
TICK = 0.1
NAMES = [f"qpu-{number}" for number in range(12)]


def status(
    ready: bool = True, pending: int = 0, wait: float = 0.0, message: str = ""
) -> api.QPUStatus:
    condition = api.Condition(
        type="Ready",
        status=ConditionStatus.TRUE if ready else ConditionStatus.FALSE,
        reason="Fine" if ready else "Outage",
        message=message,
        last_transition_time=datetime(2026, 1, 1, tzinfo=UTC),
    )
    queue = api.QueueStatus(gateway_pending=pending, estimated_wait_seconds=wait)
    return api.QPUStatus(conditions=(condition,), queue=queue)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (None, status(), Change.CONDITION),
        (status(), status(), Change.NONE),
        (status(), status(ready=False), Change.CONDITION),
        (status(), status(message="other words"), Change.LARGE),
        (status(pending=100), status(pending=109), Change.SMALL),
        (status(pending=100), status(pending=112), Change.LARGE),
        (status(pending=100), status(pending=89), Change.LARGE),
        (status(), status(pending=1), Change.LARGE),
        (status(wait=10.0), status(wait=10.5), Change.SMALL),
        (status(), status().model_copy(update={"basis_gates": ("cz",)}), Change.LARGE),
        (status(), status().model_copy(update={"num_qubits": 5}), Change.LARGE),
        (
            status(),
            status().model_copy(update={"summary": api.Summary(wait="1s", slots="0/1")}),
            Change.SMALL,
        ),
    ],
)
def test_changes_are_told_apart(
    old: api.QPUStatus | None, new: api.QPUStatus, expected: Change
) -> None:
    assert compare(old, new) is expected


def test_a_foreign_write_during_ours_is_put_right_after_it() -> None:
    pacer = Pacer(Budget(RATE, BURST))
    pacer.offer("qpu", status())
    assert list(pacer.choose(0.0)) == ["qpu"]
    pacer.expire("qpu")
    assert pacer.choose(2.0) == {}
    pacer.confirm("qpu")
    assert list(pacer.choose(2.0)) == ["qpu"]
    pacer.confirm("qpu")
    assert pacer.choose(9.0) == {}


def test_a_failed_write_is_made_again_after_its_wait() -> None:
    pacer = Pacer(Budget(RATE, BURST))
    pacer.offer("qpu", status())
    pacer.choose(0.0)
    pacer.fail("qpu", retry_at=3.0)
    assert pacer.choose(2.9) == {}
    assert list(pacer.choose(3.0)) == ["qpu"]


def test_what_may_have_been_written_is_written_over() -> None:
    pacer = Pacer(Budget(RATE, BURST))
    pacer.offer("qpu", status(pending=1))
    pacer.choose(0.0)
    pacer.confirm("qpu")
    pacer.offer("qpu", status(pending=50))
    assert list(pacer.choose(2.0)) == ["qpu"]
    # No answer came, and meanwhile all is as it was before.
    pacer.fail("qpu", retry_at=2.5)
    pacer.offer("qpu", status(pending=1))
    assert pacer.choose(3.0) == {"qpu": status(pending=1)}
    pacer.confirm("qpu")
    assert pacer.choose(9.0) == {}


def test_busy_qpus_take_turns() -> None:
    pacer, last = Pacer(Budget(RATE, 2.0)), dict.fromkeys(NAMES, 0.0)
    for step in range(400):
        now = step * TICK
        for name in NAMES:
            pacer.offer(name, status(pending=2 ** (step % 16)))
        for name in pacer.choose(now):
            assert now - last[name] <= len(NAMES) / RATE + 1.0
            last[name] = now
            pacer.confirm(name)
    assert min(last.values()) > 30


@given(
    takes=st.lists(st.floats(0.0, 2.0), min_size=1, max_size=60),
    rate=st.floats(0.5, 50),
    burst=st.floats(1, 20),
)
def test_a_budget_is_never_exceeded(takes: list[float], rate: float, burst: float) -> None:
    budget, now, taken = Budget(rate, burst), 0.0, list[float]()
    for pause in takes:
        now += pause
        while budget.take(now):
            taken.append(now)
    for index, first in enumerate(taken):
        for count, last in enumerate(taken[index:], start=1):
            assert count <= burst + (last - first) * rate + 1e-6


class Pacing(RuleBasedStateMachine):
    """Many QPUs over simulated time, with an API server that is slow and fails."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.pacer = Pacer(Budget(RATE, BURST))
        self.current: dict[str, api.QPUStatus] = {}
        self.there: dict[str, api.QPUStatus] = {}
        self.failed: dict[str, list[api.QPUStatus]] = {name: [] for name in NAMES}
        self.in_flight: deque[tuple[float, str, api.QPUStatus]] = deque()
        self.written: list[tuple[float, str, bool]] = []
        self.condition_since: dict[str, float] = {}
        self.latency = 0.0
        self.failing = False
        self.troubled_until = 0.0

    @initialize()
    def register(self) -> None:
        for name in NAMES:
            self._offer(name, status())

    @rule(name=st.sampled_from(NAMES), ready=st.booleans())
    def change_condition(self, name: str, ready: bool) -> None:
        queue = self.current[name].queue
        self._offer(name, status(ready, queue.gateway_pending))

    @rule(name=st.sampled_from(NAMES), pending=st.integers(0, 1000))
    def change_number(self, name: str, pending: int) -> None:
        ready = self.current[name].conditions[0].status is ConditionStatus.TRUE
        self._offer(name, status(ready, pending))

    @rule(pending=st.integers(0, 1000))
    def change_all_numbers(self, pending: int) -> None:
        for index, name in enumerate(NAMES):
            self.change_number(name, pending + 100 * index)

    @rule(failing=st.booleans(), latency=st.sampled_from([0.0, 0.05, 0.5]))
    def change_server(self, failing: bool, latency: float) -> None:
        self.failing, self.latency = failing, latency

    @rule(seconds=st.floats(0.1, 8.0))
    def pass_time(self, seconds: float) -> None:
        end = self.now + seconds
        while self.now < end:
            self._tick()

    @invariant()
    def no_change_of_a_condition_waits(self) -> None:
        for name, since in self.condition_since.items():
            undisturbed = max(since, self.troubled_until)
            assert self.now - undisturbed <= 1.0 + 2 * TICK, name

    def teardown(self) -> None:
        self.failing, self.latency = False, 0.0
        if not self.current:
            return
        self.pass_time(5.0 + len(NAMES) / RATE + 2.0)
        assert self.there == self.current
        before = len(self.written)
        self.pass_time(8.0)
        assert len(self.written) == before
        self._check_rates()

    def _check_rates(self) -> None:
        last: dict[str, float] = {}
        for time, name, _ in self.written:
            assert time - last.get(name, -1.0) >= 1.0 - 1e-9
            last[name] = time
        numbers = [time for time, _, same_conditions in self.written if same_conditions]
        for index, first in enumerate(numbers):
            for count, time in enumerate(numbers[index:], start=1):
                assert count <= BURST + (time - first) * RATE + 1e-6

    def _offer(self, name: str, new: api.QPUStatus) -> None:
        self.current[name] = new
        self.pacer.offer(name, new)
        self._note_condition(name)

    def _note_condition(self, name: str) -> None:
        there = self.there.get(name)
        if there is not None and there.conditions == self.current[name].conditions:
            self.condition_since.pop(name, None)
        else:
            self.condition_since.setdefault(name, self.now)

    def _tick(self) -> None:
        self.now += TICK
        while self.in_flight and self.in_flight[0][0] <= self.now:
            _, name, sent = self.in_flight.popleft()
            if self.failing:
                self.failed[name].append(sent)
                self.pacer.fail(name, self.now + 0.5)
            else:
                self.failed[name].clear()
                self.there[name] = sent
                self.pacer.confirm(name)
            self._note_condition(name)
        if self.failing or self.latency > TICK:
            self.troubled_until = self.now + 1.0
        for name, sent in self.pacer.choose(self.now).items():
            # Without an answer nobody knows which of these is there.
            possible = [self.there.get(name), *self.failed[name]]
            same = all(item and item.conditions == sent.conditions for item in possible)
            self.written.append((self.now, name, same))
            self.in_flight.append((self.now + self.latency, name, sent))
        self.in_flight = deque(sorted(self.in_flight, key=lambda item: item[0]))


TestPacing = Pacing.TestCase
TestPacing.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
