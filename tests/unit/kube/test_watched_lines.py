"""Lines of a watch, however they are cut and however long they are."""

import asyncio
from collections.abc import Sequence
from itertools import pairwise

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubeqpu.kube.lines import read_lines

LINES = st.lists(st.binary(min_size=1, max_size=30).filter(lambda line: b"\n" not in line))


class Chunks:
    """Gives chunks one by one; then the end, or silence."""

    def __init__(self, chunks: Sequence[bytes], ends: bool) -> None:
        self._chunks = iter(chunks)
        self._ends = ends

    async def readany(self) -> bytes:
        chunk = next(self._chunks, b"")
        if not chunk and not self._ends:
            await asyncio.sleep(60)
        return chunk


async def read(chunks: Sequence[bytes], seconds: float | None = None) -> list[bytes]:
    content = Chunks(chunks, ends=seconds is None)
    return [line async for line in read_lines(content, seconds)]


@given(lines=LINES, cuts=st.lists(st.integers(0, 1000)))
def test_lines_come_whole_however_they_are_cut(lines: list[bytes], cuts: list[int]) -> None:
    text = b"".join(line + b"\n" for line in lines)
    edges = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    chunks = [text[start:end] for start, end in pairwise(edges)]
    assert asyncio.run(read(chunks)) == lines


async def test_a_line_may_be_larger_than_any_buffer() -> None:
    line = b"x" * 2**20
    chunks = [(line + b"\n")[start : start + 2**15] for start in range(0, 2**20 + 1, 2**15)]
    assert await read(chunks) == [line]


async def test_an_answer_that_breaks_off_within_a_line_is_an_error() -> None:
    with pytest.raises(aiohttp.ClientError):
        await read([b"whole\nha", b"lf"])


async def test_silence_is_an_error() -> None:
    with pytest.raises(TimeoutError):
        await read([b"whole\n"], seconds=0.05)
