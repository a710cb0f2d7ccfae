"""Long lists come page by page, and of some kinds the metadata alone."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from kubeqpu.kube.objects import ObjectsAPI
from kubeqpu.kube.resources import PODS, Selection, name_of
from tests.support.object_server import ObjectServer

Answer = Callable[[web.Request], Awaitable[web.Response]]


def answering(answer: Answer) -> Callable[[web.Application], None]:
    def add(application: web.Application) -> None:
        application.router.add_get("/api/v1/pods", answer)

    return add


async def test_all_pages_are_one_list_of_its_first_moment() -> None:
    server = ObjectServer()
    pages = [
        {"items": [{"metadata": {"name": "a"}}],
         "metadata": {"resourceVersion": "7", "continue": "second"}},
        {"items": [{"metadata": {"name": "b"}}], "metadata": {"resourceVersion": "7"}},
    ]  # fmt: skip
    asked: list[Any] = []

    async def answer(request: web.Request) -> web.Response:
        selectors = (request.query["labelSelector"], request.query["fieldSelector"])
        asked.append((request.query.get("continue"), *selectors))
        return web.json_response(pages[len(asked) - 1])

    async with server.serve(answering(answer)) as client:
        objects = ObjectsAPI(client, "test")
        found = await objects.list(PODS, Selection("a=b", "c!="))
        assert [name_of(item) for item in found.items] == ["a", "b"]
        assert found.resource_version == "7"
        assert asked == [(None, "a=b", "c!="), ("second", "a=b", "c!=")]
        asked.clear()
        second = Selection("a=b", "c!=", lambda item: name_of(item) == "b")
        few = await objects.list(PODS, second)
        assert [name_of(item) for item in few.items] == ["b"]


async def test_of_a_reduced_kind_lists_and_watches_ask_for_the_metadata() -> None:
    server, accepted = ObjectServer(), list[str]()

    async def answer(request: web.Request) -> web.Response:
        accepted.append(request.headers["Accept"])
        if "watch" not in request.query:
            return web.json_response({"items": []})
        event = {"type": "ADDED", "object": {"metadata": {"name": "a"}}}
        return web.Response(text=json.dumps(event) + "\n")

    async with server.serve(answering(answer)) as client:
        objects = ObjectsAPI(client, "test")
        await objects.list(PODS.reduced())
        names = [name_of(event.object) async for event in objects.watch(PODS.reduced(), "1")]
        await objects.list(PODS)
    assert names == ["a"]
    form = "application/json;as=PartialObjectMetadata{};g=meta.k8s.io;v=v1"
    assert accepted == [form.format("List"), form.format(""), "application/json"]
