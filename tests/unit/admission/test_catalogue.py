"""The catalogue tells of what it sees, and keeps what it understood."""

import asyncio
from collections.abc import AsyncIterator, Collection
from typing import Any

import pytest

from kubeqpu.admission.budgets import BUDGET_SPENT
from kubeqpu.admission.catalogue import Catalogue
from kubeqpu.common import api
from kubeqpu.common.requests import PodRequest
from kubeqpu.kube.objects import ObjectsAPI
from kubeqpu.kube.resources import QPU_CLASSES
from tests.support.object_server import ObjectServer
from tests.unit.admission.labelling import QPU_RESOURCE, manifest

ASKED = PodRequest((QPU_RESOURCE,))


class Follower:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.lists: list[list[str]] = []
        self.changes: list[str] = []
        self.gone: list[str] = []

    def see_all(self, qpus: Collection[api.QPU]) -> None:
        self.lists.append(sorted(qpu.metadata.name for qpu in qpus))

    def see(self, qpu: api.QPU) -> None:
        self.changes.append(qpu.metadata.name)


class Room:
    """A catalogue that follows a stand-in of the API server."""

    def __init__(self, server: ObjectServer, catalogue: Catalogue) -> None:
        self.server, self.catalogue = server, catalogue
        self.follower = Follower()
        self.class_changes = 0
        catalogue.follow_qpus(self.follower.see_all, self.follower.see, self.follower.gone.append)
        catalogue.listen(self._count, QPU_CLASSES)

    def _count(self) -> None:
        self.class_changes += 1

    async def until(self, found: Any) -> None:
        async with asyncio.timeout(5):
            while not found():  # noqa: ASYNC110 - conditions of any kind
                await asyncio.sleep(0.01)


@pytest.fixture
async def room() -> AsyncIterator[Room]:
    server = ObjectServer()
    server.put("qpus", manifest("fez", a=1))
    async with server.serve() as api_client:
        room = Room(server, Catalogue(ObjectsAPI(api_client, "test")))
        running = asyncio.create_task(room.catalogue.run())
        await room.until(room.catalogue.is_complete)
        yield room
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def quota(namespace: str, used: int) -> dict[str, Any]:
    return {
        "apiVersion": "kubeqpu.io/v1alpha1", "kind": "QPUQuota",
        "metadata": {"name": "daily", "namespace": namespace},
        "spec": {"hard": {"jobs": 5}}, "status": {"used": {"jobs": used}},
    }  # fmt: skip


async def test_followers_are_told_of_each_qpu_and_listeners_of_their_kind(room: Room) -> None:
    assert room.follower.lists == [["fez"]]
    changes = room.class_changes
    room.server.put("qpus", manifest("aer"))
    await room.until(lambda: room.follower.changes == ["aer"])
    room.server.delete("qpus", "aer")
    await room.until(lambda: room.follower.gone == ["aer"])
    assert room.class_changes == changes
    room.server.put(
        "qpuclasses",
        {"apiVersion": "kubeqpu.io/v1alpha1", "kind": "QPUClass",
         "metadata": {"name": "fast"}, "spec": {}},
    )  # fmt: skip
    await room.until(lambda: room.class_changes == changes + 1)


async def test_a_qpu_that_is_not_understood_keeps_what_was_known(room: Room) -> None:
    wrong = {**manifest("fez", b=1), "status": {"nodes": "wrong"}}
    room.server.put("qpus", wrong)
    room.server.put("qpus", manifest("last"))
    await room.until(lambda: "last" in room.follower.changes)
    assert room.follower.changes == ["last"]
    assert [node.name for node in room.catalogue.qpus["fez"].status.nodes] == ["a"]
    room.server.gone = 10
    room.server.drop_watches()
    await room.until(lambda: len(room.follower.lists) > 1)
    assert room.follower.lists[-1] == ["fez", "last"]
    assert [node.name for node in room.catalogue.qpus["fez"].status.nodes] == ["a"]


async def test_a_spent_budget_is_a_ground_in_its_namespace_alone(room: Room) -> None:
    def spent(namespace: str) -> bool:
        grounds = room.catalogue.look(ASKED, namespace).grounds
        return BUDGET_SPENT in [ground.reason for ground in grounds]

    room.server.put("qpuquotas", quota("lab", 5))
    await room.until(lambda: spent("lab"))
    assert not spent("other")
    assert room.catalogue.look(PodRequest(client=True), "lab").grounds == ()
    room.server.put("qpuquotas", quota("lab", 4))
    await room.until(lambda: not spent("lab"))
    room.server.put("qpuquotas", quota("lab", 6))
    await room.until(lambda: spent("lab"))
    room.server.delete("qpuquotas", "daily")
    await room.until(lambda: not spent("lab"))
    assert room.catalogue.quotas == {}
