"""Cutting a batch's spans into pieces that are simulated together and sent as they finish."""

from collections.abc import Callable, Iterable, Iterator

from kubeqpu.qpu_gateway.providers.base import Span

# Amplitudes touched and rows taken before results are sent: about a tenth of a second of work.
_GROUP_COST = 2**21
_GROUP_ROWS = 256


def group_spans(spans: Iterable[Span], row_cost: Callable[[int], int]) -> Iterator[list[Span]]:
    """Groups rows for joint simulation; values never depend on the grouping.

    Args:
        spans: What to run.
        row_cost: Cost of one row of an entry.

    Yields:
        Spans whose rows cost about the same in each group, at least one row each.
    """
    group: list[Span] = []
    room, rows_left = _GROUP_COST, _GROUP_ROWS
    for span in spans:
        first, end = span.first_row, span.first_row + span.rows
        cost = max(1, row_cost(span.entry))
        while first < end:
            if group and (room < cost or rows_left < 1):
                yield group
                group, room, rows_left = [], _GROUP_COST, _GROUP_ROWS
            rows = min(end - first, max(1, room // cost), rows_left)
            group.append(Span(span.entry, first, rows))
            first, room, rows_left = first + rows, room - rows * cost, rows_left - rows
    if group:
        yield group
