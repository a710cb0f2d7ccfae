"""Who holds which slot, as reports say, and which pod of a name it is."""

import random

import pytest

from kubeqpu.qpu_gateway.slots.holdings import (
    PROOF_SECONDS,
    SUCCESSION_SECONDS,
    Reading,
    Refusal,
    Reported,
    is_successor,
    pin,
    read_report,
)
from kubeqpu.qpu_gateway.slots.slot import Holding, Slot

KNOWN = {"q-0", "q-1", "q-2"}
FREE = [Slot("q", 0, "a"), Slot("q", 1, "a")]
WEB = Reported("q-0", "team", "web-0", "main")


def read(slots: list[Slot], *lines: Reported, before: Reading | None = None) -> Reading:
    return read_report("a", slots, KNOWN, {"q"}, lines, None if before is None else before.pods)


def update(slots: list[Slot], reading: Reading) -> list[Slot]:
    changed = {slot.id: slot for slot in reading.changed}
    return [changed.get(slot.id, slot) for slot in slots]


def test_a_holding_begins_and_ends_with_the_reports() -> None:
    reading = read(FREE, WEB)
    assert reading.changed == (Slot("q", 0, "a", holding=Holding("team", "web-0", "main")),)
    held = update(FREE, reading)
    assert read(held, WEB, before=reading).changed == ()
    assert read(held, before=reading).changed == (FREE[0],)


def test_an_odd_name_of_a_container_is_left_out() -> None:
    reading = read(FREE, Reported("q-0", "team", "web-0", "ma\0in"))
    assert reading.changed[0].holding == Holding("team", "web-0")


def test_lines_that_do_not_count_disturb_no_other() -> None:
    lines = [
        Reported("q-2", "team", "web-0"),
        Reported("q-7", "team", "web-0"),
        Reported("other-0", "team", "web-0"),  # another gateway's
        Reported("nonsense", "team", "web-0"),
        Reported("q-1", "Team A", "web-0"),
        Reported("q-1", "team", ""),
    ]
    reading = read(FREE, *lines, WEB)
    assert [why for _, why in reading.refused] == [
        Refusal.ELSEWHERE,
        Refusal.UNKNOWN,
        Refusal.MALFORMED,
        Refusal.MALFORMED,
    ]
    assert [slot.id for slot in reading.changed] == ["q-0"]


def test_a_pin_lasts_as_long_as_its_holding() -> None:
    reading = read(FREE, WEB)
    held = update(FREE, reading)
    (pinned,) = pin(held, "uid-1", 5.0)
    assert pin([pinned], "uid-2", 6.0) == ()
    assert read([pinned, FREE[1]], WEB, before=reading).changed == ()
    gap = read([pinned, FREE[1]], before=reading)
    again = read(update([pinned, FREE[1]], gap), WEB, before=gap)
    assert again.changed[0].holding == Holding("team", "web-0", "main")


def test_another_pod_begins_another_holding() -> None:
    (pinned,) = pin(update(FREE, read(FREE, WEB)), "uid-1", 5.0)
    reading = read([pinned], Reported("q-0", "team", "web-1"))
    assert reading.changed[0].holding == Holding("team", "web-1")


def test_a_finished_pod_beside_its_successor_holds_nothing() -> None:
    """Kubelets before 1.34 list pods that are done, in any order."""
    order = random.Random(1)
    first = read(FREE, WEB)
    slots = update(FREE, first)
    new = Reported("q-0", "team", "new")
    lines = [WEB, new]
    reading = first
    for _ in range(10):
        order.shuffle(lines)
        reading = read(slots, *lines, before=reading)
        slots = update(slots, reading)
        assert slots[0].holding == Holding("team", "new")


def test_after_a_restart_the_stored_holder_stays() -> None:
    stored = [Slot("q", 0, "a", holding=Holding("team", "new", uid="u", pinned_at=1.0))]
    assert read(stored, Reported("q-0", "team", "new"), WEB).changed == ()
    assert read(stored, WEB, Reported("q-0", "team", "new")).changed == ()


@pytest.mark.parametrize(
    ("seen_after", "reported_after", "asked_after", "wanted"),
    [
        (PROOF_SECONDS, SUCCESSION_SECONDS, SUCCESSION_SECONDS, True),
        (PROOF_SECONDS - 1, 100.0, 100.0, False),  # may be the token of an earlier pod
        (PROOF_SECONDS, 1.0, SUCCESSION_SECONDS, False),  # the report may be older than its end
        (PROOF_SECONDS, SUCCESSION_SECONDS, SUCCESSION_SECONDS - 1, False),
    ],
)
def test_a_successor_is_known_by_time(
    seen_after: float, reported_after: float, asked_after: float, wanted: bool
) -> None:
    holding = Holding("team", "web-0", uid="uid-1", pinned_at=1000.0)
    seen_at = holding.pinned_at + seen_after
    found = is_successor(holding, seen_at, seen_at + reported_after, seen_at + asked_after)
    assert found is wanted
