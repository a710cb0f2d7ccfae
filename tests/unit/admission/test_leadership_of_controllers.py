"""Who leads: never two at once, and somebody soon."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from kubeqpu.admission import leadership
from kubeqpu.admission.leadership import DEADLINE_SECONDS, LEASE_SECONDS, Seen
from kubeqpu.admission.leases import Lease, format_micro_time, parse_lease

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
FREE = Lease("own", resource_version="1")


def test_a_free_lease_is_taken_and_a_held_one_only_when_it_was_left() -> None:
    assert leadership.may_take(Seen(FREE, 100.0), "a", 100.0)
    held = Seen(replace(FREE, holder="b", duration_seconds=10.0), 100.0)
    assert not leadership.may_take(held, "a", 109.9)
    assert leadership.may_take(held, "a", 110.0)
    assert leadership.may_take(held, "b", 100.0)


def test_its_time_runs_from_when_it_was_seen_to_change() -> None:
    seen = leadership.look(None, FREE, 100.0)
    assert leadership.look(seen, FREE, 105.0).changed == 100.0
    assert leadership.look(seen, replace(FREE, resource_version="2"), 105.0).changed == 105.0


def test_a_renewal_keeps_what_a_claim_starts() -> None:
    claimed = leadership.claim(FREE, "a", NOW)
    assert claimed == {
        "metadata": {"resourceVersion": "1"},
        "spec": {
            "holderIdentity": "a",
            "leaseDurationSeconds": LEASE_SECONDS,
            "acquireTime": "2026-11-23T12:00:00.000000Z",
            "renewTime": "2026-11-23T12:00:00.000000Z",
            "leaseTransitions": 1,
        },
    }
    held = replace(FREE, holder="a", acquired=NOW, transitions=1)
    later = NOW.replace(minute=5)
    renewed = leadership.claim(held, "a", later)["spec"]
    assert isinstance(renewed, dict)
    assert renewed["acquireTime"] == format_micro_time(NOW)
    assert renewed["renewTime"] == format_micro_time(later)
    assert renewed["leaseTransitions"] == 1


def test_a_lease_that_nobody_ever_held_is_read() -> None:
    manifest = {"metadata": {"name": "own", "resourceVersion": "7"}}
    assert parse_lease(dict(manifest)) == Lease("own", resource_version="7")  # type: ignore[arg-type]


@dataclass
class Candidate:
    """One pod; `asked` is what it read and when, between its request and the answer."""

    name: str
    offset: float
    seen: Seen | None = None
    leads_until: float = 0.0
    read_at: float = field(default=0.0)


class Election(RuleBasedStateMachine):
    """Candidates whose requests interleave and are lost, on clocks of their own."""

    def __init__(self) -> None:
        super().__init__()
        self.time = 0.0
        self.lease = FREE
        self.candidates = [Candidate("a", 0.0), Candidate("b", 5000.0), Candidate("c", 77.0)]

    @rule(seconds=st.floats(0.1, 4.0))
    def pass_time(self, seconds: float) -> None:
        self.time += seconds

    @rule(index=st.integers(0, 2))
    def read(self, index: int) -> None:
        one = self.candidates[index]
        one.read_at = self.time
        one.seen = leadership.look(one.seen, self.lease, self.time + one.offset)

    @rule(index=st.integers(0, 2), slow_seconds=st.floats(0, 5.0), lost=st.booleans())
    def claim(self, index: int, slow_seconds: float, lost: bool) -> None:
        one = self.candidates[index]
        started = self.time
        if one.seen is None or not leadership.may_take(one.seen, one.name, started + one.offset):
            return
        patch = leadership.claim(one.seen.lease, one.name, NOW)
        self.time += slow_seconds
        assert isinstance(patch["metadata"], dict)
        if patch["metadata"]["resourceVersion"] != self.lease.resource_version:
            one.leads_until = 0.0
            return
        version = str(int(self.lease.resource_version) + 1)
        self.lease = replace(self.lease, holder=one.name, duration_seconds=LEASE_SECONDS,
                             resource_version=version)  # fmt: skip
        if not lost:
            one.seen = leadership.look(one.seen, self.lease, self.time + one.offset)
            one.leads_until = started + DEADLINE_SECONDS

    @rule(index=st.integers(0, 2))
    def release(self, index: int) -> None:
        one = self.candidates[index]
        if self.lease.holder == one.name:
            one.leads_until = 0.0
            version = str(int(self.lease.resource_version) + 1)
            self.lease = replace(self.lease, holder="", resource_version=version)

    @invariant()
    def at_most_one_leads(self) -> None:
        leaders = [one.name for one in self.candidates if self.time < one.leads_until]
        assert len(leaders) <= 1


Election.TestCase.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
TestElection = Election.TestCase
