"""Which rows of a job run together, and which of them came back. Pure; no I/O."""

from collections import deque
from collections.abc import Iterable, Sequence

from kubeqpu.qpu_gateway.errors import ProviderError
from kubeqpu.qpu_gateway.providers.base import Span

FIRST_BATCH_ROWS = 64
SMALLEST_SHARE_ROWS = 16


def missing_spans(rows: Sequence[int], stored: Iterable[Span]) -> list[Span]:
    """Finds the rows that have no result.

    Args:
        rows: Rows of each entry.
        stored: Spans with results; they do not overlap.

    Returns:
        The gaps, in order of entry and row.
    """
    by_entry: dict[int, list[Span]] = {}
    for span in stored:
        by_entry.setdefault(span.entry, []).append(span)
    gaps = []
    for entry, total in enumerate(rows):
        start = 0
        for span in sorted(by_entry.get(entry, ()), key=lambda span: span.first_row):
            if span.first_row > start:
                gaps.append(Span(entry, start, span.first_row - start))
            start = span.first_row + span.rows
        if start < total:
            gaps.append(Span(entry, start, total - start))
    return gaps


def count_rows(spans: Iterable[Span]) -> int:
    """Adds up the rows of spans."""
    return sum(span.rows for span in spans)


def take_rows(pending: deque[Span], rows: int) -> tuple[Span, ...]:
    """Takes rows from the front of what is pending; the last span is divided if it is too long.

    Args:
        pending: Spans that wait; those taken are removed.
        rows: How many rows to take at most.

    Returns:
        What was taken, in order.
    """
    taken = []
    while pending and rows > 0:
        span = pending.popleft()
        if span.rows > rows:
            pending.appendleft(Span(span.entry, span.first_row + rows, span.rows - rows))
            span = Span(span.entry, span.first_row, rows)
        taken.append(span)
        rows -= span.rows
    return tuple(taken)


def choose_rows(
    remaining: int,
    slots: int,
    max_circuits: int,
    seconds_per_row: float | None,
    batch_seconds: float,
) -> int:
    """Chooses how many rows the next batch has.

    A batch is what a crash repeats and what a new job of higher priority waits for, so it should
    be short; each costs a round trip to the provider, so it should not be tiny. With several slots
    the rest is shared between them, so that they finish together.

    Args:
        remaining: Rows of the job that are not running yet.
        slots: Batches that may run at once.
        max_circuits: Circuits the provider takes in one submission; 0 for any number.
        seconds_per_row: How long a row of this job took so far, or None before the first batch.
        batch_seconds: How long a batch should run.

    Returns:
        Rows of the next batch, at least 1 unless nothing remains.
    """
    if seconds_per_row is None:
        rows = FIRST_BATCH_ROWS
    else:
        rows = max(1, round(batch_seconds / max(seconds_per_row, 1e-9)))
    if slots > 1:
        rows = min(rows, max(SMALLEST_SHARE_ROWS, -(-remaining // slots)))
    if max_circuits > 0:
        rows = min(rows, max_circuits)
    return min(rows, remaining)


class Coverage:
    """Which rows of a batch have not come back yet.

    Args:
        spans: The batch; its spans do not overlap.
    """

    def __init__(self, spans: Iterable[Span]) -> None:
        self._missing: dict[int, list[Span]] = {}
        for span in spans:
            self._missing.setdefault(span.entry, []).append(span)

    def accept(self, span: Span) -> None:
        """Notes that results of a span came back.

        Raises:
            ProviderError: If some of its rows were not asked for, or came back before.
        """
        gaps = self._missing.get(span.entry, [])
        end = span.first_row + span.rows
        for index, gap in enumerate(gaps):
            gap_end = gap.first_row + gap.rows
            if span.rows > 0 and gap.first_row <= span.first_row and end <= gap_end:
                left = Span(gap.entry, gap.first_row, span.first_row - gap.first_row)
                right = Span(gap.entry, end, gap_end - end)
                gaps[index : index + 1] = [part for part in (left, right) if part.rows > 0]
                return
        raise ProviderError(
            f"The provider returned rows {span.first_row} to {end - 1} of entry {span.entry}, "
            "which were not asked for or came back before; this is an error of the provider, "
            "please report it."
        )

    def missing(self) -> list[Span]:
        """Gives the rows that have not come back, in order of entry and row."""
        return [span for entry in sorted(self._missing) for span in self._missing[entry]]
