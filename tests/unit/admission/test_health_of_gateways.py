"""Whose gateway is silent: by changes of Leases that we saw, and our own clock."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from kubeqpu.admission.health import Limits, Moment
from kubeqpu.admission.leases import Lease
from kubeqpu.admission.observations import Observations
from kubeqpu.common import api
from kubeqpu.common.qpu import ConditionStatus

START = datetime(2026, 11, 23, 12, tzinfo=UTC)
LIMITS = Limits()
LEASE = api.lease_name("aer")
HEARTBEAT_SECONDS = 10
OWN_LEASE = "kubeqpu-controller"


def qpu(name: str = "aer", created: datetime = START, uid: str = "1", **ready: str) -> api.QPU:
    conditions = (
        ({"type": "Ready", "message": "", "reason": "Test", "lastTransitionTime": START} | ready),
    )
    return api.QPU(
        metadata=api.ObjectMeta(name=name, uid=uid, creation_timestamp=created),
        spec=api.QPUSpec(provider="aer"),
        status=api.QPUStatus.model_validate({"conditions": conditions if ready else ()}),
    )


class World:
    """A controller's view, with a clock that the test turns."""

    def __init__(self, *, skew_seconds: float = 0) -> None:
        self.now = Moment(1000.0, START)
        self.skew = timedelta(seconds=skew_seconds)
        self.seen = Observations(LIMITS, lambda: self.now)

    def restart(self) -> None:
        self.seen = Observations(LIMITS, lambda: self.now)

    def wait(self, seconds: float, *, watching: bool = True) -> None:
        """Lets time pass; while it watches, the controller's own Lease is renewed."""
        for _ in range(round(seconds)):
            self.now = Moment(self.now.monotonic + 1, self.now.wall + timedelta(seconds=1))
            if watching:
                self.show(OWN_LEASE, self.now.wall)

    def show(self, name: str, renewed: datetime | None, *, listed: bool = False) -> None:
        self.seen.see_lease(Lease(name, renewed=renewed), listed=listed)

    def renew(self) -> datetime:
        renewed = self.now.wall + self.skew
        self.show(LEASE, renewed)
        return renewed


@pytest.mark.parametrize("skew_seconds", [0, 3600, -3600])
def test_a_gateway_that_dies_is_silent_after_the_duration_whatever_its_clock(
    skew_seconds: float,
) -> None:
    world = World(skew_seconds=skew_seconds)
    world.seen.see_qpu(qpu())
    for _ in range(10):
        world.renew()
        world.wait(HEARTBEAT_SECONDS)
        assert not world.seen.is_silent("aer")
    world.wait(LIMITS.lease_duration_seconds - HEARTBEAT_SECONDS - 1)
    assert not world.seen.is_silent("aer")
    world.wait(1)
    assert world.seen.is_silent("aer")


def test_a_clock_set_back_renews_too() -> None:
    world = World(skew_seconds=3600)
    world.seen.see_qpu(qpu())
    world.renew()
    world.wait(35)
    world.skew = timedelta()
    world.renew()
    world.wait(35)
    assert not world.seen.is_silent("aer")


def test_a_lease_from_the_future_is_not_alive_for_ever() -> None:
    world = World()
    world.seen.see_qpu(qpu())
    world.show(LEASE, START + timedelta(days=365), listed=True)
    world.wait(39)
    assert not world.seen.is_silent("aer")
    world.wait(1)
    assert world.seen.is_silent("aer")


@pytest.mark.parametrize(
    ("age_seconds", "expected_seconds"),
    [(-1000, 40), (0, 40), (30, 40), (40, 30), (50, 20), (54, 16), (1000, 16)],
)
def test_after_a_restart_a_lease_that_was_old_is_judged_sooner(
    age_seconds: float, expected_seconds: float
) -> None:
    world = World()
    world.seen.see_qpu(qpu())
    world.show(LEASE, START - timedelta(seconds=age_seconds), listed=True)
    world.wait(expected_seconds - 1)
    assert not world.seen.is_silent("aer")
    world.wait(1)
    assert world.seen.is_silent("aer")


def test_a_qpu_without_a_lease_counts_from_when_it_was_seen_or_made() -> None:
    world = World()
    world.show(OWN_LEASE, START, listed=True)
    world.seen.see_qpu(qpu("new"))
    world.seen.see_qpu(qpu("old", created=START - timedelta(days=1)))
    world.wait(15)
    assert not world.seen.is_silent("old")
    world.wait(1)
    assert world.seen.is_silent("old")
    world.wait(23)
    assert not world.seen.is_silent("new")
    world.wait(1)
    assert world.seen.is_silent("new")


def test_a_lease_that_is_made_or_deleted_starts_the_time() -> None:
    world = World()
    world.seen.see_qpu(qpu())
    world.wait(39)
    world.renew()
    world.wait(39)
    world.seen.forget_lease(LEASE)
    world.wait(39)
    assert not world.seen.is_silent("aer")
    world.wait(1)
    assert world.seen.is_silent("aer")


def test_nobody_is_judged_while_leases_are_out_of_sight_nor_right_after() -> None:
    world = World()
    world.seen.see_qpu(qpu())
    world.renew()
    world.wait(600, watching=False)
    assert world.seen.is_blind()
    assert not world.seen.is_silent("aer")
    world.wait(40)
    assert not world.seen.is_silent("aer")
    world.wait(1)
    assert world.seen.is_silent("aer")


def test_nothing_is_judged_before_leases_were_ever_seen() -> None:
    world = World()
    world.seen.see_qpu(qpu(created=START - timedelta(days=1)))
    world.wait(600, watching=False)
    assert world.seen.is_blind()
    assert world.seen.untold() == []


def test_a_renewal_that_was_read_apart_from_the_watch_counts() -> None:
    world = World()
    world.seen.see_qpu(qpu())
    world.renew()
    world.wait(40)
    assert world.seen.untold() == ["aer"]
    world.seen.read_renewal(LEASE, world.now.wall)
    assert world.seen.untold() == []


def test_a_qpu_made_anew_counts_from_then_and_a_deleted_one_not_at_all() -> None:
    world = World()
    world.seen.see_qpu(qpu())
    world.wait(39)
    world.seen.see_qpu(qpu(uid="2", created=world.now.wall))
    world.wait(39)
    assert not world.seen.is_silent("aer")
    world.seen.forget_qpu("aer")
    world.wait(600)
    assert world.seen.untold() == []


def test_who_said_it_already_is_not_told_again_and_all_are_counted() -> None:
    world = World()
    world.seen.see_qpu(qpu("told", status="Unknown", reason="GatewaySilent"))
    world.seen.see_qpu(qpu("ready", status="True"))
    world.seen.see_qpu(qpu("broken", status="False"))
    world.seen.see_qpu(qpu("unreported"))
    world.wait(600)
    assert world.seen.untold() == ["ready", "broken", "unreported"]
    assert world.seen.count_ready() == {
        ConditionStatus.TRUE: 1,
        ConditionStatus.FALSE: 1,
        ConditionStatus.UNKNOWN: 2,
    }


@dataclass
class Truth:
    """What really happens, second by second."""

    alive: bool = True
    renewed: datetime = START
    phase: int = 0
    died: float = 0.0
    returned: float = 0.0
    watching_since: float = 0.0
    watching: bool = True


class Controller(RuleBasedStateMachine):
    """A gateway lives, dies and returns; the watch breaks; the controller restarts."""

    @initialize(skew_seconds=st.integers(-5000, 5000), age_seconds=st.integers(0, 9))
    def begin(self, skew_seconds: int, age_seconds: int) -> None:
        self.world = World(skew_seconds=skew_seconds)
        self.truth = Truth(phase=age_seconds)
        self.truth.renewed = self.world.now.wall + self.world.skew
        self.truth.watching_since = self.world.now.monotonic
        self.list_all()

    def list_all(self) -> None:
        self.world.seen.see_qpu(qpu())
        self.world.show(LEASE, self.truth.renewed, listed=True)

    @rule(seconds=st.integers(1, 60))
    def pass_time(self, seconds: int) -> None:
        for _ in range(seconds):
            self.world.wait(1, watching=self.truth.watching)
            self.truth.phase += 1
            if self.truth.alive and self.truth.phase >= HEARTBEAT_SECONDS:
                self.truth.phase = 0
                self.truth.renewed = self.world.now.wall + self.world.skew
                if self.truth.watching:
                    self.world.show(LEASE, self.truth.renewed)
            self.check()

    @rule()
    def die(self) -> None:
        if self.truth.alive:
            self.truth.alive, self.truth.died = False, self.world.now.monotonic

    @rule()
    def return_alive(self) -> None:
        if not self.truth.alive:
            # It renews at once.
            self.truth.alive, self.truth.phase = True, HEARTBEAT_SECONDS
            self.truth.returned = self.world.now.monotonic
            self.pass_time(1)

    @rule(seconds=st.integers(-5000, 5000))
    def set_clock(self, seconds: int) -> None:
        self.world.skew = timedelta(seconds=seconds)

    @rule()
    def break_watch(self) -> None:
        self.truth.watching = False

    @rule()
    def mend_watch(self) -> None:
        if not self.truth.watching:
            self.truth.watching = True
            self.truth.watching_since = self.world.now.monotonic
            self.list_all()

    @rule()
    def restart(self) -> None:
        self.world.restart()
        self.truth.watching = True
        self.truth.watching_since = self.world.now.monotonic
        self.list_all()

    @invariant()
    def check(self) -> None:
        silent = self.world.seen.is_silent("aer")
        # One that returned while the watch is dying is seen only when its Lease is read.
        alive_for = self.world.now.monotonic - self.truth.returned
        if self.truth.alive and (self.truth.watching or alive_for > LIMITS.sight_seconds):
            assert not silent, "a gateway that lives was judged"
        dead_for = self.world.now.monotonic - max(self.truth.died, self.truth.watching_since)
        if not self.truth.alive and self.truth.watching and dead_for > 41:
            assert silent, "a gateway that died was not judged in time"


Controller.TestCase.settings = settings(max_examples=150, stateful_step_count=25, deadline=None)
TestController = Controller.TestCase
