"""What an `ObjectWatch` tells, whatever happens between its requests."""

import asyncio

from kubeqpu.kube.objects import ObjectsAPI
from kubeqpu.kube.resources import QPUS, Manifest, name_of
from kubeqpu.kube.watches import ObjectWatch
from tests.support.object_server import ObjectServer
from tests.support.registration import until


def qpu(name: str, padding: str = "") -> Manifest:
    return {"metadata": {"name": name}, "spec": {"padding": padding}}


async def test_what_is_made_between_list_and_watch_is_told() -> None:
    server, told = ObjectServer(), asyncio.Queue[str]()
    server.put("qpus", qpu("first"))
    async with server.serve() as api_client:

        def take_all(listed: tuple[Manifest, ...]) -> None:
            for found in listed:
                told.put_nowait(name_of(found))
            server.put("qpus", qpu("between"))

        watch = ObjectWatch(
            ObjectsAPI(api_client, "test"),
            QPUS,
            take_all,
            lambda found: told.put_nowait(name_of(found)),
            lambda found: None,
        )
        task = asyncio.create_task(watch.run())
        try:
            async with asyncio.timeout(5):
                assert [await told.get(), await told.get()] == ["first", "between"]
        finally:
            task.cancel()


async def test_an_object_of_a_megabyte_ends_no_watch() -> None:
    server, told = ObjectServer(), asyncio.Queue[Manifest]()

    def make_large(_: tuple[Manifest, ...]) -> None:
        server.put("qpus", qpu("large", "x" * 2**20))

    async with server.serve() as api_client:
        watch = ObjectWatch(
            ObjectsAPI(api_client, "test"),
            QPUS,
            make_large,
            told.put_nowait,
            lambda found: None,
        )
        task = asyncio.create_task(watch.run())
        try:
            async with asyncio.timeout(5):
                assert name_of(await told.get()) == "large"
            assert server.count("GET", "qpus") == 2
        finally:
            task.cancel()


async def test_a_silent_watch_is_taken_up_anew_where_it_was() -> None:
    server, told = ObjectServer(), asyncio.Queue[str]()
    async with server.serve() as api_client:
        watch = ObjectWatch(
            ObjectsAPI(api_client, "test"),
            QPUS,
            lambda listed: None,
            lambda found: told.put_nowait(name_of(found)),
            lambda found: None,
            silence_seconds=0.1,
        )
        task = asyncio.create_task(watch.run())
        try:
            await until(lambda: server.count("GET", "qpus") >= 3)
            server.put("qpus", qpu("late"))
            async with asyncio.timeout(5):
                assert await told.get() == "late"
        finally:
            task.cancel()
