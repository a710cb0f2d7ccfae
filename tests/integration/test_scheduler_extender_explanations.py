"""What bound pods say of their placement, whatever becomes of the extender and the API server."""

import asyncio
import json
from collections.abc import Callable

from kubeqpu.common.names import ANNOTATION_PLACEMENT
from kubeqpu.scheduler_extender.activity import REST_SECONDS
from tests.support.extender_objects import Object, pod_object, qpu_object
from tests.support.extender_stand import annotations_of, extender, until_true
from tests.support.object_server import ObjectServer
from tests.support.registration import until

NODES = ["n-1", "n-2", "n-3", "n-4"]


def three_qpus() -> ObjectServer:
    server = ObjectServer()
    server.put("qpus", qpu_object("quick", {"n-1": (2, 0)}, wait=0))
    server.put("qpus", qpu_object("slow", {"n-2": (2, 0)}, wait=600))
    server.put("qpus", qpu_object("noisy", {"n-3": (2, 0)}, error=0.03))
    return server


def events(server: ObjectServer) -> list[Object]:
    return [item for key, item in server.objects.items() if key[0] == "events"]


def writes(server: ObjectServer) -> int:
    return server.count("PATCH", "/pods/")


async def test_a_bound_pod_carries_its_explanation_and_people_are_told() -> None:
    server = three_qpus()
    pod = server.put("pods", pod_object())
    async with extender(server) as stand:
        chosen = (await stand.filter(pod, NODES))["NodeNames"]
        # What was decided is explained, not what holds when the pod is bound.
        server.delete("qpus", "quick")
        server.bind("bell", chosen[0])
        told = await stand.explanation("bell")
        assert (told["node"], told["qpu"], told["class"]) == ("n-1", "quick", "standard")
        assert (told["considered"], told["passing"]) == (4, 3)
        assert told["runnerUp"]["qpu"] == "noisy"
        assert told["score"] > told["runnerUp"]["score"] > 0
        assert set(told["parts"]) == {"wait", "fidelity", "freshness", "utilisation"}
        assert told["dataAgeSeconds"] < 10
        assert told["calibrationAgeSeconds"] < 60
        assert "decidedAnew" not in told
        await until(lambda: bool(events(server)))
        (event,) = events(server)
        assert event["reason"] == "Placed"
        assert event["regarding"]["uid"] == "uid-bell"
        assert "QPU quick on node n-1 scored" in event["note"]
        assert "ahead of QPU noisy on node n-3" in event["note"]
        metrics = await stand.metrics()
        assert metrics['explanations_total{result="written"}'] == 1
        assert metrics["pods_unexplained"] == 0


async def test_a_decision_lost_in_a_restart_is_made_up_for_and_says_so() -> None:
    server = three_qpus()
    for name, resources in (("bell", None), ("plain", {"cpu": "1"})):
        server.put("pods", pod_object(name, resources=resources))
        server.bind(name, "n-2")
    async with extender(server, orphan_seconds=5.0) as stand:
        assert (await stand.metrics())["pods_unexplained"] == 1
        told = await stand.explanation("bell")
        assert (told["qpu"], told["decidedAnew"]) == ("slow", True)
        await until(lambda: bool(events(server)))
        assert "no earlier judgement is known" in events(server)[0]["note"]
        metrics = await stand.metrics()
        assert metrics['explanations_total{result="written_anew"}'] == 1
        assert ANNOTATION_PLACEMENT not in annotations_of(server, "plain")


async def test_of_two_extenders_the_one_that_decided_explains() -> None:
    server = three_qpus()
    pod = server.put("pods", pod_object())
    async with (
        extender(server, orphan_seconds=5.0) as decides,
        extender(server, orphan_seconds=5.0) as stands_by,
    ):
        await decides.filter(pod, NODES)
        server.bind("bell", "n-1")
        assert "decidedAnew" not in await stands_by.explanation("bell")
        await asyncio.sleep(7.0)
        assert (writes(server), len(events(server))) == (1, 1)
        assert (await stands_by.metrics())["pods_unexplained"] == 0


async def test_what_a_user_wrote_there_is_replaced() -> None:
    server = three_qpus()
    pod = server.put("pods", pod_object(annotations={ANNOTATION_PLACEMENT: "as I like it"}))
    async with extender(server) as stand:
        await stand.filter(pod, NODES)
        server.bind("bell", "n-1")

        async def replaced() -> bool:
            return str(annotations_of(server, "bell")[ANNOTATION_PLACEMENT]).startswith("{")

        await until_true(replaced)


async def test_a_pod_that_was_made_again_is_not_explained_in_the_place_of_the_first() -> None:
    server = three_qpus()
    first = server.put("pods", pod_object())
    async with extender(server, orphan_seconds=600) as stand:
        await stand.filter(first, NODES)
        server.bind("bell", "n-1")
        second = pod_object()
        second["metadata"]["uid"] = "uid-of-the-second"
        server.put("pods", second)
        await until(lambda: writes(server) == 1)
        await asyncio.sleep(REST_SECONDS)
        assert ANNOTATION_PLACEMENT not in annotations_of(server, "bell")


async def test_explaining_waits_while_the_scheduler_has_pods_to_place() -> None:
    server = three_qpus()
    pod = server.put("pods", pod_object())
    async with extender(server) as stand:
        await stand.filter(pod, NODES)
        server.bind("bell", "n-1")
        for _ in range(10):
            await stand.filter(pod_object("other"), NODES)
            await asyncio.sleep(REST_SECONDS / 2)
        assert writes(server) == 0
        await stand.explanation("bell")


async def test_no_explanation_is_lost_while_the_api_server_fails() -> None:
    server = three_qpus()
    pods = [server.put("pods", pod_object(f"pod-{number}")) for number in range(5)]
    async with extender(server) as stand:
        for pod in pods:
            await stand.filter(pod, NODES)
        server.refuse = refusing("/pods/", 503)
        for number in range(5):
            server.bind(f"pod-{number}", "n-1")
        await until(lambda: writes(server) >= 2)
        server.refuse = lambda method, path: None
        for number in range(5):
            assert "decidedAnew" not in await stand.explanation(f"pod-{number}")


async def test_one_pod_that_takes_none_holds_up_no_other() -> None:
    server = three_qpus()
    pods = [server.put("pods", pod_object(name)) for name in ("stubborn", "gone", "bell")]
    async with extender(server) as stand:
        for pod in pods:
            await stand.filter(pod, NODES)
        server.refuse = refusing("/pods/stubborn", 422)
        for name in ("stubborn", "gone", "bell"):
            server.bind(name, "n-1")
        server.delete("pods", "gone")
        assert (await stand.explanation("bell"))["node"] == "n-1"
        metrics = await stand.metrics()
        assert metrics['explanations_total{result="given_up"}'] == 1
        assert metrics["pods_unexplained"] == 0


async def test_pods_that_ask_for_nothing_and_those_that_went_unseen_wait_for_nothing() -> None:
    server = three_qpus()
    for name, resources in (("bell", None), ("plain", {"cpu": "1"})):
        server.put("pods", pod_object(name, resources=resources))
    async with extender(server, orphan_seconds=600) as stand:

        async def waiting(pods: int) -> bool:
            return (await stand.metrics())["pods_unexplained"] == pods

        server.bind("plain", "n-1")
        server.bind("bell", "n-1")
        await until_true(lambda: waiting(1))
        del server.objects[("pods", "bell")]
        server.gone = 3
        server.drop_watches()
        await until_true(lambda: waiting(0))


async def test_told_to_stop_it_explains_what_it_decided() -> None:
    server = three_qpus()
    pod = server.put("pods", pod_object())
    async with extender(server) as stand:
        await stand.filter(pod, NODES)
        server.bind("bell", "n-1")
        await asyncio.sleep(REST_SECONDS / 5)
        assert ANNOTATION_PLACEMENT not in annotations_of(server, "bell")
    told = json.loads(annotations_of(server, "bell")[ANNOTATION_PLACEMENT])
    assert "decidedAnew" not in told


def refusing(part: str, status: int) -> Callable[[str, str], int | None]:
    return lambda method, path: status if method == "PATCH" and part in path else None
