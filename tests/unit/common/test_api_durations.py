"""Durations of the API objects."""

import re
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubeqpu.common.api import format_duration, parse_duration
from kubeqpu.common.api.durations import PATTERN

durations = st.integers(0, 99_999 * 3_600_000).map(lambda count: timedelta(milliseconds=count))


@given(durations)
def test_what_is_written_is_read_back_and_in_the_format(value: timedelta) -> None:
    text = format_duration(value)
    assert re.fullmatch(PATTERN, text)
    assert parse_duration(text) == value


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("24h", 86_400), ("1h30m", 5400), ("250ms", 0.25), ("0s", 0), ("1m1m", 120)],
)
def test_reads_what_people_write(text: str, seconds: float) -> None:
    assert parse_duration(text).total_seconds() == seconds


@pytest.mark.parametrize("text", ["", "24", "1d", "-1h", "1.5h", "h", "100000h", " 1h", 5])
def test_refuses_other_texts_and_says_what_it_expected(text: object) -> None:
    with pytest.raises(ValueError, match="expected whole numbers with units h, m, s or ms"):
        parse_duration(text)


def test_refuses_to_write_what_the_format_cannot_say() -> None:
    for value in (timedelta(seconds=-1), timedelta(hours=100_000)):
        with pytest.raises(ValueError, match="expected 0 s to 99999 h"):
            format_duration(value)


def test_longest_is_written_and_shortest_rounds_to_milliseconds() -> None:
    assert format_duration(timedelta(hours=99_999)) == "99999h"
    assert format_duration(timedelta(microseconds=1600)) == "2ms"
