"""Keys are handled one by one, and no change of one is lost."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from kubeqpu.admission.checks.queue import KeyQueue
from tests.support.registration import until


async def run(queue: KeyQueue[str], steps: list[tuple[str, int]]) -> None:
    """Adds keys while others are worked on; each add has to be followed by a look."""
    now, looked, busy = dict[str, int](), dict[str, int](), set[str]()

    async def handle(key: str) -> None:
        assert key not in busy
        busy.add(key)
        seen = now[key]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        busy.discard(key)
        looked[key] = seen
        if seen % 5 == 4:
            raise ValueError("a bug")

    task = asyncio.create_task(queue.work(handle, 3))
    for number, (key, pauses) in enumerate(steps):
        now[key] = number
        queue.add(key)
        for _ in range(pauses):
            await asyncio.sleep(0)
    await until(lambda: looked == now)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 4)), max_size=40))
def test_after_every_add_there_is_a_look(steps: list[tuple[str, int]]) -> None:
    asyncio.run(run(KeyQueue(), steps))


async def test_later_is_the_sooner_of_two_and_sooner_if_added_before() -> None:
    queue, looked = KeyQueue[str](), list[str]()
    loop = asyncio.get_running_loop()

    async def handle(key: str) -> None:
        looked.append(key)

    task = asyncio.create_task(queue.work(handle, 1))
    began = loop.time()
    queue.add_later("a", 5.0)
    queue.add_later("a", 0.1)
    queue.add_later("a", 3.0)
    queue.add_later("b", 0.1)
    queue.add("b")
    queue.add_later("c", 0.05)
    queue.forget("c")
    await until(lambda: looked == ["b", "a"])
    assert loop.time() - began < 2
    await asyncio.sleep(0.2)
    assert looked == ["b", "a"]
    task.cancel()
