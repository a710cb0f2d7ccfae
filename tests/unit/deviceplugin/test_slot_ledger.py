"""The ledger: whose word counts for which slot, and what the kubelet is told of it."""

from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from kubeqpu.deviceplugin.ledger import MAX_LIST_BYTES, Ledger
from kubeqpu.deviceplugin.slots import Cause, Offer, Slot, check_offer
from kubeqpu.proto.kubelet.v1beta1 import deviceplugin_pb2

QPU, CPU = "kubeqpu.io/qpu", "kubeqpu.io/cpu-simulator"
ENDPOINT = "gateway.svc:7070"


def slot(
    name: str, healthy: bool = True, resource: str = QPU, qpu: str | None = None, reason: str = ""
) -> Slot:
    return Slot(name, qpu or name.rpartition("-")[0], resource, healthy, reason)


def offer(gateway: str, slots: Iterable[Slot] = ()) -> Offer:
    return Offer(gateway, ENDPOINT, tuple(slots))


def joined(*gateways: str, **options: float) -> Ledger:
    ledger = Ledger(**options)  # type: ignore[arg-type]
    for gateway in gateways:
        ledger.join(gateway)
    return ledger


def healthy(ledger: Ledger, now: float, resource: str = QPU) -> dict[str, bool]:
    ledger.review(now)
    return {name: entry.verdict.healthy for name, entry in ledger.entries(resource).items()}


def test_a_list_has_what_a_gateway_offers_and_follows_its_word() -> None:
    ledger = joined("lab")
    ledger.hear(offer("lab", [slot("fez-0"), slot("fez-1", False, reason="It is cordoned.")]), 0)
    assert ledger.review(0) == {QPU}
    assert healthy(ledger, 0) == {"fez-0": True, "fez-1": False}
    assert ledger.entries(QPU)["fez-1"].verdict.reason == "It is cordoned."
    ledger.hear(offer("lab", [slot("fez-0"), slot("fez-1")]), 1)
    assert healthy(ledger, 1) == {"fez-0": True, "fez-1": True}


def test_only_changes_of_a_list_are_told() -> None:
    ledger = joined("lab")
    said = offer("lab", [slot("fez-0"), slot("aer-0", resource=CPU)])
    ledger.hear(said, 0)
    assert ledger.review(0) == {QPU, CPU}
    ledger.hear(said, 1)
    assert ledger.review(1) == set()
    ledger.hear(offer("lab", [slot("fez-0", False), slot("aer-0", resource=CPU)]), 2)
    assert ledger.review(2) == {QPU}
    # Another score is no news for the kubelet.
    better = Slot("aer-0", "aer", CPU, score=0.9)
    ledger.hear(offer("lab", [slot("fez-0", False), better]), 3)
    assert ledger.review(3) == set()


def test_a_new_unhealthy_slot_is_told_too() -> None:
    ledger = joined("lab")
    ledger.hear(offer("lab", [slot("fez-0", False)]), 0)
    assert ledger.review(0) == {QPU}


def test_a_slot_that_goes_away_stays_listed_as_unhealthy_even_if_held() -> None:
    ledger = joined("lab")
    ledger.hear(offer("lab", [slot("fez-0"), slot("fez-1")]), 0)
    ledger.hold({QPU: ["fez-1"]})
    ledger.hear(offer("lab"), 1)
    assert healthy(ledger, 1) == {"fez-0": False, "fez-1": False}
    assert "no longer" in ledger.entries(QPU)["fez-0"].verdict.reason
    ledger.hear(offer("lab", [slot("fez-0"), slot("fez-1")]), 2)
    assert healthy(ledger, 2) == {"fez-0": True, "fez-1": True}


def test_without_its_gateway_a_free_slot_lasts_for_the_grace_and_a_held_one_for_ever() -> None:
    ledger = joined("lab", grace_seconds=30)
    ledger.hear(offer("lab", [slot("fez-0"), slot("fez-1")]), 0)
    ledger.hold({QPU: ["fez-1"]})
    ledger.leave("lab", 100)
    assert healthy(ledger, 129.9) == {"fez-0": True, "fez-1": True}
    assert ledger.is_waiting(130)
    assert healthy(ledger, 130) == {"fez-0": False, "fez-1": True}
    assert not ledger.is_waiting(1000)
    assert healthy(ledger, 100_000) == {"fez-0": False, "fez-1": True}
    ledger.hold({})
    assert healthy(ledger, 100_001) == {"fez-0": False, "fez-1": False}
    ledger.join("lab")
    assert healthy(ledger, 100_002) == {"fez-0": True, "fez-1": True}


def test_a_gateway_is_lost_with_its_last_stream_only() -> None:
    ledger = joined("lab", "lab", grace_seconds=30)
    ledger.hear(offer("lab", [slot("fez-0")]), 0)
    ledger.leave("lab", 10)
    assert healthy(ledger, 1000) == {"fez-0": True}
    ledger.leave("lab", 1000)
    assert healthy(ledger, 1030) == {"fez-0": False}


def test_an_outage_before_the_stream_broke_goes_on() -> None:
    ledger = joined("lab", grace_seconds=30)
    ledger.hear(offer("lab", [slot("fez-0", False)]), 0)
    ledger.hold({QPU: ["fez-0"]})
    ledger.leave("lab", 1)
    assert healthy(ledger, 2) == {"fez-0": False}


def test_held_slots_are_listed_healthy_before_any_gateway_answers() -> None:
    ledger = Ledger()
    ledger.hold({QPU: ["fez-3"], "nvidia.com/gpu": ["GPU-1"]})
    ledger.inherit({QPU: ["fez-10", "fez-2", "fez-3"]})
    assert healthy(ledger, 0) == {"fez-3": True, "fez-2": False, "fez-10": False}
    assert ledger.endpoint(ledger.entries(QPU)["fez-3"]) == ""


def test_of_two_gateways_the_first_keeps_a_slot() -> None:
    ledger = joined("lab", "other", forget_seconds=300)
    ledger.hear(offer("lab", [slot("fez-0")]), 0)
    stolen = offer("other", [slot("fez-0", resource=CPU), slot("fez-1")])
    (refused,) = ledger.hear(stolen, 1)
    assert refused.cause is Cause.CONFLICT
    assert "lab already" in refused.text
    # Said once, refused for ever; the rest of the offer counts.
    assert ledger.hear(stolen, 2) == ()
    assert [found.slot for found in ledger.refusals()] == ["fez-0"]
    assert ledger.entries(QPU)["fez-0"].gateway == "lab"
    assert healthy(ledger, 2) == {"fez-0": True, "fez-1": True}
    assert healthy(ledger, 2, CPU) == {}
    # Not even while the first one is away for a while.
    ledger.leave("lab", 10)
    assert ledger.hear(stolen, 309) == ()
    assert ledger.entries(QPU)["fez-0"].gateway == "lab"


def test_a_slot_given_up_by_its_gateway_may_be_offered_by_another() -> None:
    ledger = joined("lab", "other", forget_seconds=300)
    ledger.hear(offer("lab", [slot("fez-0"), slot("torino-0")]), 0)
    ledger.hear(offer("lab", [slot("torino-0")]), 1)
    assert ledger.hear(offer("other", [slot("fez-0")]), 2) == ()
    assert ledger.entries(QPU)["fez-0"].gateway == "other"
    assert healthy(ledger, 2) == {"fez-0": True, "torino-0": True}
    ledger.leave("lab", 10)
    assert ledger.hear(offer("other", [slot("fez-0"), slot("torino-0")]), 310) == ()
    assert ledger.entries(QPU)["torino-0"].gateway == "other"
    assert list(ledger.refusals()) == []


def test_a_slot_taken_over_under_another_resource_is_healthy_only_there() -> None:
    (ledger := joined("lab", "other", forget_seconds=300)).hear(offer("lab", [slot("fez-0")]), 0)
    ledger.hold({QPU: ["fez-0"]})
    ledger.leave("lab", 0)
    ledger.hear(offer("other", [slot("fez-0", resource=CPU)]), 300)
    assert (healthy(ledger, 300), healthy(ledger, 300, CPU)) == ({"fez-0": False}, {"fez-0": True})


@pytest.mark.parametrize(
    ("wrong", "cause"),
    [
        (slot("fez-0", resource="nvidia.com/gpu"), Cause.RESOURCE),
        (slot("fez-0", resource="kubeqpu.io/other"), Cause.RESOURCE),
        (slot("fez-0", qpu="torino"), Cause.MALFORMED),
        (slot("fez-x"), Cause.MALFORMED),
        (slot("fez-²"), Cause.MALFORMED),
        (slot("fez"), Cause.MALFORMED),
        (slot("a,b-0"), Cause.MALFORMED),
        (slot(""), Cause.MALFORMED),
        (slot("q" * 62 + "-0"), Cause.MALFORMED),
    ],
)
def test_a_slot_that_makes_no_sense_is_refused_and_the_others_are_not(
    wrong: Slot, cause: Cause
) -> None:
    ledger = joined("lab")
    (refused,) = ledger.hear(offer("lab", [wrong, slot("torino-0")]), 0)
    assert refused.cause is cause
    assert refused.text
    assert healthy(ledger, 0) == {"torino-0": True}


@pytest.mark.parametrize(
    ("gateway", "endpoint"), [("", ENDPOINT), ("lab", ""), ("lab", "a:1,b:2"), ("lab", "no-port")]
)
def test_an_offer_that_makes_no_sense_is_found_out(gateway: str, endpoint: str) -> None:
    assert check_offer(Offer(gateway, endpoint, ()))
    assert check_offer(Offer("lab", ENDPOINT, ())) is None


def test_a_slot_may_change_its_resource() -> None:
    ledger = joined("lab")
    ledger.hear(offer("lab", [slot("fez-0")]), 0)
    ledger.hear(offer("lab", [slot("fez-0", resource=CPU)]), 1)
    assert healthy(ledger, 1) == {"fez-0": False}
    assert healthy(ledger, 1, CPU) == {"fez-0": True}


def test_a_list_stays_below_what_the_kubelet_receives() -> None:
    ledger = joined("lab")
    refused = ledger.hear(offer("lab", [slot(f"q-{number}") for number in range(200_000)]), 0)
    assert {found.cause for found in refused} == {Cause.SIZE}
    entries = ledger.entries(QPU)
    assert len(entries) + len(refused) == 200_000
    message = deviceplugin_pb2.ListAndWatchResponse()
    for name in entries:
        message.devices.add(id=name, health="Unhealthy")
    assert message.ByteSize() <= ledger.list_bytes(QPU) <= MAX_LIST_BYTES
    assert message.ByteSize() > 0.95 * MAX_LIST_BYTES
    # Those that were left out hinder nobody.
    assert ledger.hear(offer("lab", [slot("aer-0", resource=CPU)]), 1) == ()
    assert healthy(ledger, 1, CPU) == {"aer-0": True}


@given(st.text(alphabet="abc-é", min_size=1, max_size=60), st.booleans())
def test_the_size_of_a_list_is_never_estimated_too_low(name: str, is_healthy: bool) -> None:
    ledger = Ledger()
    ledger.hold({QPU: [name]})
    message = deviceplugin_pb2.ListAndWatchResponse()
    message.devices.add(id=name, health="Healthy" if is_healthy else "Unhealthy")
    assert message.ByteSize() <= ledger.list_bytes(QPU)


GATEWAYS = st.sampled_from(["lab", "other"])
SLOTS = st.sampled_from(["fez-0", "fez-1", "torino-0"])
RESOURCES = st.sampled_from([QPU, CPU, "example.com/foreign"])


class Machine(RuleBasedStateMachine):
    """Gateways, pods and time in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger(grace_seconds=30, forget_seconds=300)
        self.now = 0.0
        self.seen: dict[str, set[str]] = {QPU: set(), CPU: set()}
        self.streams = {"lab": 0, "other": 0}
        self.said: dict[str, dict[str, Slot]] = {}

    @rule(gateway=GATEWAYS, named=st.dictionaries(SLOTS, st.tuples(RESOURCES, st.booleans())))
    def hear(self, gateway: str, named: dict[str, tuple[str, bool]]) -> None:
        if not self.streams[gateway]:
            self.ledger.join(gateway)
            self.streams[gateway] = 1
        slots = [slot(name, well, resource) for name, (resource, well) in named.items()]
        self.ledger.hear(offer(gateway, slots), self.now)
        self.said[gateway] = {found.id: found for found in slots}

    @rule(gateway=GATEWAYS)
    def leave(self, gateway: str) -> None:
        if self.streams[gateway]:
            self.streams[gateway] = 0
            self.ledger.leave(gateway, self.now)

    @rule(seconds=st.sampled_from([1.0, 31.0, 301.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(held=st.sets(SLOTS))
    def hold(self, held: set[str]) -> None:
        self.ledger.hold({QPU: held})

    @invariant()
    def lists_never_shrink(self) -> None:
        for resource, seen in self.seen.items():
            listed = set(self.ledger.entries(resource))
            assert seen <= listed
            self.seen[resource] = listed

    @invariant()
    def nothing_is_healthy_that_its_gateway_does_not_call_so(self) -> None:
        self.ledger.review(self.now)
        for resource in (QPU, CPU):
            for name, entry in self.ledger.entries(resource).items():
                if entry.verdict.healthy and entry.gateway:
                    said = self.said[entry.gateway][name]
                    assert said.healthy
                    assert said.resource_name == resource
                if entry.verdict.healthy and not entry.gateway:
                    assert self.ledger.is_held(name)

    @invariant()
    def nothing_is_healthy_twice(self) -> None:
        both = [
            name
            for name, entry in self.ledger.entries(QPU).items()
            if entry.verdict.healthy
            and (other := self.ledger.entries(CPU).get(name)) is not None
            and other.verdict.healthy
        ]
        # A pod may have one that its new gateway calls something else.
        assert all(not self.ledger.entries(QPU)[name].gateway for name in both)


TestLedgerMachine = Machine.TestCase
TestLedgerMachine.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
