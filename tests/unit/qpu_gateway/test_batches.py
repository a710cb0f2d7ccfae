from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubeqpu.qpu_gateway.batches import (
    Coverage,
    choose_rows,
    count_rows,
    missing_spans,
    take_rows,
)
from kubeqpu.qpu_gateway.errors import ProviderError
from kubeqpu.qpu_gateway.providers.base import Span

ROWS = st.lists(st.integers(1, 30), min_size=1, max_size=5)


def cut(rows: list[int], sizes: list[int]) -> list[Span]:
    """Divides all rows into consecutive spans of the given sizes, used over and over."""
    pending = deque(Span(entry, 0, total) for entry, total in enumerate(rows))
    spans: list[Span] = []
    while pending:
        spans.extend(take_rows(pending, sizes[len(spans) % len(sizes)]))
    return spans


@given(rows=ROWS, sizes=st.lists(st.integers(1, 7), min_size=1), data=st.data())
def test_stored_and_missing_rows_are_all_rows_once(
    rows: list[int], sizes: list[int], data: st.DataObject
) -> None:
    spans = cut(rows, sizes)
    stored = data.draw(st.lists(st.sampled_from(spans), unique=True))
    found = [*stored, *missing_spans(rows, stored)]
    cells = sorted((s.entry, s.first_row + i) for s in found for i in range(s.rows))
    assert cells == [(entry, row) for entry, total in enumerate(rows) for row in range(total)]


@given(rows=ROWS, sizes=st.lists(st.integers(1, 7), min_size=1))
def test_taking_rows_loses_none_and_keeps_their_order(rows: list[int], sizes: list[int]) -> None:
    spans = cut(rows, sizes)
    cells = [(s.entry, s.first_row + i) for s in spans for i in range(s.rows)]
    assert cells == [(entry, row) for entry, total in enumerate(rows) for row in range(total)]


def test_a_batch_never_exceeds_the_number_asked_for() -> None:
    pending = deque([Span(0, 0, 5), Span(1, 0, 5)])
    assert take_rows(pending, 7) == (Span(0, 0, 5), Span(1, 0, 2))
    assert list(pending) == [Span(1, 2, 3)]


@given(
    remaining=st.integers(1, 10**6),
    slots=st.integers(1, 8),
    max_circuits=st.integers(0, 500),
    seconds=st.none() | st.floats(0, 100),
)
def test_rows_of_a_batch_keep_the_provider_limit(
    remaining: int, slots: int, max_circuits: int, seconds: float | None
) -> None:
    rows = choose_rows(remaining, slots, max_circuits, seconds, 0.5)
    assert 1 <= rows <= remaining
    assert rows <= max_circuits or max_circuits == 0


def test_batches_last_about_as_long_as_wanted_and_share_the_rest() -> None:
    assert choose_rows(10_000, 1, 0, 0.001, 0.5) == 500
    assert choose_rows(10_000, 1, 100, 0.001, 0.5) == 100
    assert choose_rows(10_000, 1, 0, 60.0, 0.5) == 1
    assert choose_rows(300, 2, 0, 0.001, 0.5) == 150


@given(rows=ROWS, sizes=st.lists(st.integers(1, 7), min_size=1), data=st.data())
def test_coverage_knows_what_is_missing(
    rows: list[int], sizes: list[int], data: st.DataObject
) -> None:
    spans = cut(rows, sizes)
    coverage = Coverage(Span(entry, 0, total) for entry, total in enumerate(rows))
    done = data.draw(st.permutations(spans))
    half = done[: len(done) // 2]
    for span in half:
        coverage.accept(span)
    assert count_rows(coverage.missing()) == sum(rows) - count_rows(half)
    for span in half:
        with pytest.raises(ProviderError, match="came back before"):
            coverage.accept(span)
    for span in done[len(half) :]:
        coverage.accept(span)
    assert coverage.missing() == []


@pytest.mark.parametrize("span", [Span(0, 4, 2), Span(1, 0, 1), Span(0, 0, 0), Span(0, 0, 6)])
def test_rows_not_asked_for_are_refused(span: Span) -> None:
    with pytest.raises(ProviderError, match="not asked for"):
        Coverage([Span(0, 0, 5)]).accept(span)
