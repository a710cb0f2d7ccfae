"""Lists and admissions take turns."""

import asyncio
import time

from kubeqpu.deviceplugin.admissions import ANSWER_SECONDS, CHOICE_SECONDS, Admissions


async def _list(admissions: Admissions, seconds: float = 0.0) -> float:
    """Returns how many seconds the List waited; it takes seconds itself."""
    asked = time.monotonic()
    async with admissions.listing():
        waited = time.monotonic() - asked
        await asyncio.sleep(seconds)
    return waited


async def test_a_list_that_waits_since_the_choice_comes_soon_after_the_answer() -> None:
    admissions = Admissions()
    await admissions.begin()
    list_call = asyncio.create_task(_list(admissions))
    await asyncio.sleep(0.05)
    admissions.answer()
    assert ANSWER_SECONDS <= await list_call < CHOICE_SECONDS / 2


async def test_an_admission_that_never_asks_to_allocate_lets_lists_go_on() -> None:
    admissions = Admissions()
    await admissions.begin()
    assert CHOICE_SECONDS * 0.9 < await _list(admissions) < CHOICE_SECONDS + 1


async def test_a_list_that_is_due_goes_before_the_next_admission() -> None:
    admissions = Admissions()
    await admissions.begin()
    list_call = asyncio.create_task(_list(admissions, seconds=0.2))
    await asyncio.sleep(0.05)
    began = time.monotonic()
    await admissions.begin()
    assert list_call.done()
    assert 0.2 <= time.monotonic() - began < 0.5


async def test_a_list_that_is_never_answered_holds_no_admission_for_long() -> None:
    admissions = Admissions()
    list_call = asyncio.create_task(_list(admissions, seconds=5))
    await asyncio.sleep(0)
    began = time.monotonic()
    await admissions.begin()
    assert 0.4 < time.monotonic() - began < 1.5
    list_call.cancel()
