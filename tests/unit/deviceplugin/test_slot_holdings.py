"""Who holds what: when the kubelet's Lists are believed."""

from hypothesis import given
from hypothesis import strategies as st

from kubeqpu.deviceplugin.holdings import Holding, Holdings

QPU = "kubeqpu.io/qpu"


def holding(slot: str, pod: str = "pod") -> Holding:
    return Holding(slot, QPU, "tenant", pod, "main")


def pods(holdings: Holdings) -> dict[str, str]:
    return {found.slot: found.pod for found in holdings.holders()}


def steady() -> Holdings:
    """Holdings of a kubelet that has been answering for a while."""
    holdings = Holdings(trust_seconds=5)
    holdings.observe([holding("fez-0", "a"), holding("fez-1", "b")], 0)
    holdings.observe([holding("fez-0", "a"), holding("fez-1", "b")], 5)
    return holdings


def test_a_holder_is_believed_at_once() -> None:
    holdings = Holdings(trust_seconds=5)
    assert holdings.observe([holding("fez-0", "a")], 0)
    assert not holdings.observe([holding("fez-0", "a")], 1)
    assert pods(holdings) == {"fez-0": "a"}
    assert holdings.version == 1


def test_an_end_is_believed_at_the_second_list_of_a_steady_kubelet() -> None:
    holdings = steady()
    assert not holdings.observe([holding("fez-1", "b")], 5.2)
    assert holdings.is_unsettled()
    assert holdings.observe([holding("fez-1", "b")], 5.4)
    assert pods(holdings) == {"fez-1": "b"}
    assert not holdings.is_unsettled()


def test_one_list_that_lacks_a_holder_means_nothing() -> None:
    holdings = steady()
    for second in range(6, 20):
        listed = [holding("fez-1", "b")] + [holding("fez-0", "a")] * (second % 2)
        assert not holdings.observe(listed, second)
    assert pods(holdings) == {"fez-0": "a", "fez-1": "b"}


def test_after_a_restart_an_end_is_believed_only_after_five_seconds_of_good_lists() -> None:
    holdings = steady()
    holdings.distrust()
    # Empty for a second; a pod in crash back-off returns after two.
    for tenth in range(10):
        assert not holdings.observe([], 10 + tenth / 10)
    assert not holdings.observe([holding("fez-0", "a")], 12.1)
    assert not holdings.observe([holding("fez-0", "a")], 14.9)
    assert holdings.observe([holding("fez-0", "a")], 15)
    assert pods(holdings) == {"fez-0": "a"}


def test_a_list_that_fails_in_between_begins_the_five_seconds_anew() -> None:
    holdings = steady()
    holdings.distrust()
    assert not holdings.observe([], 10)
    holdings.distrust()
    for second in (14, 15, 16, 18.9):
        assert not holdings.observe([], second)
    assert holdings.observe([], 19)
    assert pods(holdings) == {}


def test_a_new_holder_of_a_slot_is_believed_at_once_even_then() -> None:
    holdings = steady()
    holdings.distrust()
    assert holdings.observe([holding("fez-0", "c")], 10)
    assert pods(holdings) == {"fez-0": "c", "fez-1": "b"}


def test_a_pod_that_ended_and_is_still_listed_does_not_win_its_slot_back() -> None:
    # Kubelets before 1.34, in either order, list after list.
    old, new = holding("fez-0", "old"), holding("fez-0", "new")
    for listed in ([old, new], [new, old]):
        holdings = Holdings(trust_seconds=5)
        holdings.observe([old], 0)
        assert holdings.observe(listed, 1)
        assert pods(holdings) == {"fez-0": "new"}
        for second in range(2, 10):
            assert not holdings.observe(listed, second)
        # The new one ends, too: nobody holds it.
        holdings.observe([old], 10)
        holdings.observe([old], 11)
        assert pods(holdings) == {}
        # Only when the old one was gone may a pod of its name come back.
        holdings.observe([], 12)
        assert holdings.observe([old], 13)
        assert pods(holdings) == {"fez-0": "old"}


def test_a_slot_given_away_is_held_until_a_list_shows_by_whom() -> None:
    holdings = Holdings(trust_seconds=5)
    holdings.allocate(["fez-0"], QPU, 0)
    assert holdings.held() == {QPU: {"fez-0"}}
    assert holdings.is_unsettled()
    assert pods(holdings) == {}
    holdings.observe([], 0.1)
    assert holdings.held() == {QPU: {"fez-0"}}
    holdings.observe([holding("fez-0", "a")], 0.3)
    assert not holdings.is_unsettled()
    assert pods(holdings) == {"fez-0": "a"}


def test_a_slot_given_to_a_pod_that_never_started_is_free_again() -> None:
    holdings = Holdings(trust_seconds=5)
    holdings.allocate(["fez-0"], QPU, 0)
    holdings.observe([], 29)
    assert holdings.held() == {QPU: {"fez-0"}}
    holdings.observe([], 31)
    assert holdings.held() == {}


def test_a_slot_given_away_is_no_longer_its_old_holder_s() -> None:
    holdings = steady()
    assert holdings.allocate(["fez-0"], QPU, 6)
    assert pods(holdings) == {"fez-1": "b"}
    assert holdings.held() == {QPU: {"fez-0", "fez-1"}}
    # A List that was asked for before may be of before.
    assert not holdings.observe([holding("fez-0", "a"), holding("fez-1", "b")], 6.1, 5.9)
    assert pods(holdings) == {"fez-1": "b"}
    assert holdings.is_unsettled()
    # The next pod of the same name is another.
    assert holdings.observe([holding("fez-0", "a"), holding("fez-1", "b")], 6.2, 6.1)
    assert pods(holdings) == {"fez-0": "a", "fez-1": "b"}
    assert not holdings.is_unsettled()


def test_giving_a_free_slot_away_ends_no_holding() -> None:
    holdings = steady()
    version = holdings.version
    assert not holdings.allocate(["fez-7"], QPU, 6)
    assert (holdings.version, pods(holdings)) == (version, {"fez-0": "a", "fez-1": "b"})


LISTS = st.lists(
    st.one_of(
        st.none(),
        st.dictionaries(st.sampled_from(["fez-0", "fez-1"]), st.sampled_from(["a", "b"])),
    ),
    max_size=30,
)


@given(LISTS)
def test_the_holders_are_the_last_good_list_and_what_it_lacks_only_for_a_while(
    lists: list[dict[str, str] | None],
) -> None:
    """None is a restart; Lists are a second apart."""
    holdings = Holdings(trust_seconds=5)
    last: dict[str, str] = {}
    missing_since: dict[str, int] = {}
    good_since = 0
    for second, listed in enumerate(lists):
        if listed is None:
            holdings.distrust()
            good_since = second + 1
            continue
        holdings.observe([holding(slot, pod) for slot, pod in listed.items()], second)
        missing_since = {
            slot: missing_since.get(slot, second) for slot in pods(holdings) if slot not in listed
        }
        assert {slot: pods(holdings)[slot] for slot in listed} == listed
        for slot, since in missing_since.items():
            assert pods(holdings)[slot] == last[slot]
            assert second - good_since < 5 or second == max(since, good_since)
        last = pods(holdings)
