"""A kind that others install is noticed when it comes and when it goes."""

import asyncio

from structlog.testing import capture_logs

from kubeqpu.admission.presence import Presence
from kubeqpu.kube.objects import ObjectsAPI
from kubeqpu.kube.resources import QPU_CLASSES
from tests.support.registration import until
from tests.unit.admission.api_stand_in import APIStandIn, serving_objects


def stop_serving(server: APIStandIn) -> None:
    server.kinds = []


async def test_coming_and_going_are_told_once_each() -> None:
    told: list[bool] = []
    async with serving_objects() as (server, api_client):
        server.kinds = ["qpus"]
        presence = Presence(ObjectsAPI(api_client, "test"), QPU_CLASSES, look_seconds=0.01)
        presence.listen(told.append)
        with capture_logs() as logs:
            task = asyncio.create_task(presence.run())
            await until(lambda: len(server.requests) > 2)
            assert told == [False]
            server.kinds = ["qpus", "qpuclasses"]
            await until(lambda: told == [False, True])
            # An API server that is down says nothing of what it serves.
            server.down = True
            asked = len(server.requests)
            await until(lambda: len(server.requests) > asked + 2)
            assert presence.served
            server.down = False
            stop_serving(server)
            await until(lambda: told == [False, True, False])
            task.cancel()
    changes = [entry["event"] for entry in logs if entry["log_level"] == "info"]
    assert changes == ["Kind not served", "Kind found", "Kind not served"]
    assert server.requests[0] == "GET /apis/kubeqpu.io/v1alpha1"


async def test_work_goes_on_only_while_the_kind_is_there() -> None:
    working: list[str] = []

    async def work() -> None:
        working.append("started")
        try:
            await asyncio.Event().wait()
        finally:
            working.append("ended")

    async with serving_objects() as (server, api_client):
        server.kinds = []
        presence = Presence(ObjectsAPI(api_client, "test"), QPU_CLASSES, look_seconds=0.01)
        tasks = [
            asyncio.create_task(presence.run()),
            asyncio.create_task(presence.attend(work)),
        ]
        await until(lambda: len(server.requests) > 2)
        assert working == []
        server.kinds = ["qpuclasses"]
        await until(lambda: working == ["started"])
        stop_serving(server)
        await until(lambda: working == ["started", "ended"])
        server.kinds = ["qpuclasses"]
        await until(lambda: working == ["started", "ended", "started"])
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    assert working == ["started", "ended", "started", "ended"]
