"""Verdicts: never past their time, never another's, never too many, asked for once at a time."""

import asyncio

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from kubeqpu.qpu_gateway.access.cache import Verdict, VerdictCache

KEYS = st.tuples(st.sampled_from(["team-a", "team-b", "team-c"]), st.integers(0, 3))


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class CacheMachine(RuleBasedStateMachine):
    """Compares the cache with what was answered when."""

    CAPACITY = 5

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.clock = Clock()
        self.cache: VerdictCache[tuple[str, int], tuple[str, int, int]] = VerdictCache(
            self.CAPACITY, self.clock
        )
        self.count = 0
        # Per key: number of the last answer, and until when it may be given.
        self.ends: dict[tuple[str, int], tuple[int, float]] = {}

    def teardown(self) -> None:
        self.loop.close()

    @rule(key=KEYS, keep=st.sampled_from([0.0, -3.0, 2.0, 10.0]), takes=st.sampled_from([0, 1, 12]))
    def get(self, key: tuple[str, int], keep: float, takes: float) -> None:
        asked = []

        async def ask() -> Verdict[tuple[str, int, int]]:
            self.count += 1
            asked.append(self.clock.now)
            self.clock.now += takes
            return Verdict((*key, self.count), keep)

        before = self.clock.now
        tenant, number, answer = self.loop.run_until_complete(self.cache.get(key, ask))
        assert (tenant, number) == key
        if asked:
            assert answer == self.count
            self.ends[key] = (answer, asked[0] + keep)
        else:
            known, end = self.ends[key]
            assert answer == known
            assert before < end

    @rule(key=KEYS)
    def find(self, key: tuple[str, int]) -> None:
        found = self.cache.find(key)
        if found is not None:
            known, end = self.ends[key]
            assert found == (*key, known)
            assert self.clock.now < end

    @rule(key=KEYS)
    def fail(self, key: tuple[str, int]) -> None:
        if self.cache.find(key) is not None:
            return

        async def ask() -> Verdict[tuple[str, int, int]]:
            raise ValueError("no answer")

        with pytest.raises(ValueError, match="no answer"):
            self.loop.run_until_complete(self.cache.get(key, ask))
        assert self.cache.find(key) is None

    @rule(seconds=st.sampled_from([0.5, 1.0, 2.0, 9.0, 10.0]))
    def wait(self, seconds: float) -> None:
        self.clock.now += seconds

    @invariant()
    def is_bounded(self) -> None:
        assert len(self.cache) <= self.CAPACITY


TestCache = CacheMachine.TestCase
TestCache.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


async def test_those_who_ask_together_are_answered_together() -> None:
    cache: VerdictCache[str, int] = VerdictCache(10)
    release, asked = asyncio.Event(), 0

    async def ask() -> Verdict[int]:
        nonlocal asked
        asked += 1
        await release.wait()
        return Verdict(asked, 0.0)

    waiting = [asyncio.create_task(cache.get("key", ask)) for _ in range(50)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    waiting[0].cancel()
    await asyncio.sleep(0)
    release.set()
    answers = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(answers[0], asyncio.CancelledError)
    assert answers[1:] == [1] * 49
    # Nothing was to be kept, so the next one asks again.
    assert await cache.get("key", ask) == 2


async def test_what_was_not_used_for_longest_goes_first() -> None:
    cache: VerdictCache[int, int] = VerdictCache(3)

    async def ask(key: int) -> int:
        async def answer() -> Verdict[int]:
            return Verdict(key, 10.0)

        return await cache.get(key, answer)

    for key in (1, 2, 3, 1, 4):
        await ask(key)
    assert [cache.find(key) for key in (1, 2, 3, 4)] == [1, None, 3, 4]
