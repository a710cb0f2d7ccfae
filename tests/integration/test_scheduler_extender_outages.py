"""The extender without its API server, and the pods that wait for a QPU."""

import asyncio
import subprocess
import sys
import time
from pathlib import Path

from kubeqpu.common.names import ANNOTATION_WAKE
from tests.support.extender_objects import args, class_object, pod_object, qpu_object
from tests.support.extender_process import extender_process, write_kubeconfig
from tests.support.extender_stand import Stand, extender, until_ready, until_true
from tests.support.object_server import ObjectServer
from tests.support.registration import until

NODES = ["n-1", "n-2"]


def one_qpu(ready: bool = True) -> ObjectServer:
    server = ObjectServer()
    server.put("qpus", qpu_object("fez", {"n-1": (4, 0)}, ready=ready))
    for name in NODES:
        server.put("nodes", {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}})
    return server


def woken_at(server: ObjectServer, node: str = "n-1") -> str:
    annotations = server.objects[("nodes", node)]["metadata"].get("annotations", {})
    return str(annotations.get(ANNOTATION_WAKE, ""))


def wakes(server: ObjectServer) -> int:
    return server.count("PATCH", "/nodes/")


async def refuse(stand: Stand, name: str = "bell", **annotations: str) -> None:
    named = {f"kubeqpu.io/{key}": value for key, value in annotations.items()}
    found = await stand.filter(pod_object(name, named), NODES)
    assert found["NodeNames"] == []


async def test_nothing_is_decided_before_all_is_known() -> None:
    server = one_qpu()
    server.answer = 503
    async with extender(server) as stand:
        assert "not listed yet" in (await stand.filter(pod_object(), NODES))["Error"]
        status, text = await stand.post("prioritize", args(pod_object(), NODES))
        assert (status, b"not listed yet" in text) == (503, True)
        # Who needs no QPU does not wait for one.
        plain = pod_object(resources={"cpu": "1"})
        assert await stand.filter(plain, NODES) == {"NodeNames": NODES}
        assert (await stand.readiness())[0] == 503
        assert (await stand.metrics())["ready"] == 0
        server.answer = None
        await until_ready(stand)
        assert await stand.filter(pod_object(), NODES) == {"NodeNames": ["n-1"]}


async def test_old_data_decides_nothing_until_the_server_is_back() -> None:
    server = one_qpu()
    async with extender(server, outage_seconds=0.5) as stand:
        server.answer = 500
        server.drop_watches()
        # For a while what is known is good enough.
        assert await stand.filter(pod_object(), NODES) == {"NodeNames": ["n-1"]}
        await until_ready(stand, 503)
        assert "has not been reached for" in (await stand.filter(pod_object(), NODES))["Error"]
        server.answer = None
        await until_ready(stand)
        assert await stand.filter(pod_object(), NODES) == {"NodeNames": ["n-1"]}


async def test_a_watch_that_ends_and_comes_back_without_news_is_sound() -> None:
    server = one_qpu()
    async with extender(server, outage_seconds=1.5) as stand:
        for _ in range(4):
            server.drop_watches()
            await asyncio.sleep(0.6)
            assert (await stand.readiness())[0] == 200


async def test_a_silent_server_is_not_believed_for_ever() -> None:
    server = one_qpu()
    async with extender(server, silence_seconds=0.8) as stand:
        await until_ready(stand, 503)
        assert "has told nothing" in (await stand.readiness())[1]
        assert (await stand.metrics())["cache_age_seconds"] > 0.8
        bookmark = {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "7"}}}
        for queue in server._watches:
            queue.put_nowait(bookmark)
        await until_ready(stand)


async def test_a_refused_pod_is_woken_when_its_qpu_recovers_and_then_not_again() -> None:
    server = one_qpu(ready=False)
    async with extender(server) as stand:
        await refuse(stand)
        await asyncio.sleep(0.2)
        assert wakes(server) == 0
        began = time.monotonic()
        server.put("qpus", qpu_object("fez", {"n-1": (4, 0)}))
        await until(lambda: woken_at(server))
        assert time.monotonic() - began < 2
        assert await stand.filter(pod_object(), NODES) == {"NodeNames": ["n-1"]}
        for wait in range(5):
            server.put("qpus", qpu_object("fez", {"n-1": (4, 0)}, wait=wait))
            await asyncio.sleep(0.3)
        assert wakes(server) == 1


async def test_many_changes_wake_at_most_once_a_second_and_the_last_is_not_lost() -> None:
    server = one_qpu(ready=False)
    async with extender(server) as stand:
        began = time.monotonic()
        for number in range(12):
            await refuse(stand, f"pod-{number}")
            server.put("qpus", qpu_object("fez", {"n-1": (4, 0)}))
            await asyncio.sleep(0.12)
            server.put("qpus", qpu_object("fez", {"n-1": (4, 0)}, ready=False))
            await asyncio.sleep(0.12)
        assert 2 <= wakes(server) <= time.monotonic() - began + 1
        await refuse(stand, "last")
        before = woken_at(server)
        server.put("qpus", qpu_object("fez", {"n-1": (4, 0)}))
        await until(lambda: woken_at(server) != before, seconds=2.5)
        assert (await stand.metrics())["pods_waiting"] == 0


async def test_a_class_that_appears_wakes_and_so_does_one_that_changes() -> None:
    server = one_qpu()
    async with extender(server) as stand:
        await refuse(stand, **{"class": "mine"})
        server.put("qpuclasses", class_object("mine", minQubits=100))
        await until(lambda: wakes(server) == 1)
        await refuse(stand, **{"class": "mine"})
        server.put("qpuclasses", class_object("mine", minQubits=20))
        await until(lambda: wakes(server) == 2)


async def test_waking_goes_on_after_a_node_could_not_be_changed() -> None:
    server = one_qpu(ready=False)
    server.delete("nodes", "n-1")
    async with extender(server) as stand:
        await refuse(stand)
        server.put("qpus", qpu_object("fez", {"n-1": (4, 0)}))
        await until(lambda: wakes(server) >= 2)
        server.put("nodes", {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n-1"}})
        await until(lambda: woken_at(server))


async def test_explanations_need_no_events() -> None:
    server = one_qpu()
    pods = [server.put("pods", pod_object(f"pod-{number}")) for number in range(30)]
    async with extender(server) as stand:
        for pod in pods:
            await stand.filter(pod, NODES)
        server.refuse = lambda method, path: 500 if "/events" in path else None
        for number in range(30):
            server.bind(f"pod-{number}", "n-1")

        async def given_up() -> bool:
            return (await stand.metrics())["events_dropped_total"] == 30

        await until_true(given_up)
        assert (await stand.explanation("pod-29"))["node"] == "n-1"


async def test_told_to_stop_it_finishes_and_ends_within_two_seconds(tmp_path: Path) -> None:
    server = one_qpu()
    async with server.serve() as api_client:
        kubeconfig = write_kubeconfig(tmp_path, api_client.configuration.host)

        def run() -> tuple[int, float]:
            with extender_process(kubeconfig) as process:
                began = time.monotonic()
                return process.stop(), time.monotonic() - began

        status, seconds = await asyncio.to_thread(run)
        assert (status, seconds < 2) == (0, True)


def test_wrong_settings_end_it_with_one_sentence() -> None:
    for flags in (["--port=many"], ["--orphan-seconds=-1"], ["--best-nodes=0"]):
        command = [sys.executable, "-m", "kubeqpu.scheduler_extender", *flags]
        found = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        assert found.returncode == 2, found.stderr
        assert found.stderr.count("\n") == 1, found.stderr
