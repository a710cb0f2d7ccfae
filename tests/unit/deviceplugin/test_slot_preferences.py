"""Which free slots a container gets."""

from hypothesis import given
from hypothesis import strategies as st

from kubeqpu.deviceplugin.preferences import Candidate, choose_slots

KNOWN = {
    **{f"fez-{number}": Candidate("lab", "fez", 0.4) for number in range(12)},
    "torino-0": Candidate("lab", "torino", 0.9),
    "torino-1": Candidate("lab", "torino", 0.9),
    **{f"aer-{number}": Candidate("other", "aer", 0.7) for number in range(3)},
    "unknown-0": Candidate("", "unknown", 0.0),
}


def choose(
    count: int, available: list[str] | None = None, required: list[str] | None = None
) -> list[str]:
    return choose_slots(list(KNOWN) if available is None else available, required or [], count,
                        KNOWN.__getitem__)  # fmt: skip


def test_one_comes_from_the_qpu_with_the_best_score() -> None:
    assert choose(1) == ["torino-0"]


def test_several_come_from_one_qpu_though_a_better_one_has_too_few() -> None:
    assert choose(3) == ["aer-0", "aer-1", "aer-2"]
    assert choose(5) == ["fez-0", "fez-1", "fez-2", "fez-3", "fez-4"]


def test_more_than_a_qpu_has_come_from_one_gateway() -> None:
    chosen = choose(13)
    assert chosen[:12] == [f"fez-{number}" for number in range(12)]
    assert chosen[12] == "torino-0"


def test_more_than_a_gateway_has_come_from_few_and_what_nobody_knows_comes_last() -> None:
    assert choose(18)[:17] == [*choose(14), "aer-0", "aer-1", "aer-2"]
    assert choose(18)[17] == "unknown-0"
    assert sorted(choose(100)) == sorted(KNOWN)


def test_what_is_required_draws_the_others_to_its_qpu() -> None:
    assert choose(2, required=["fez-7"]) == ["fez-7", "fez-0"]
    assert choose(2, available=["torino-0", "aer-0"], required=["fez-7"]) == ["fez-7", "torino-0"]
    assert choose(2, required=["unknown-0"])[0] == "unknown-0"


def test_nothing_sensible_is_no_error() -> None:
    assert choose(0) == []
    assert choose(-1) == []
    assert choose(2, available=[]) == []
    assert choose(1, required=["fez-1", "fez-2"]) == ["fez-1"]


@given(
    st.lists(st.sampled_from(sorted(KNOWN)), unique=True),
    st.lists(st.sampled_from(sorted(KNOWN)), unique=True, max_size=3),
    st.integers(0, 20),
)
def test_the_choice_is_what_was_asked_for(
    available: list[str], required: list[str], count: int
) -> None:
    chosen = choose(count, available, required)
    assert len(chosen) == len(set(chosen)) == min(count, len({*available, *required}))
    assert set(chosen) <= {*available, *required}
    assert chosen[: len(required)] == required[:count]
    if not required and chosen:
        per_qpu = [
            sum(KNOWN[slot].qpu == qpu for slot in available)
            for qpu in {KNOWN[slot].qpu for slot in available if KNOWN[slot].gateway}
        ]
        if max(per_qpu, default=0) >= count:
            assert len({KNOWN[slot].qpu for slot in chosen}) == 1
