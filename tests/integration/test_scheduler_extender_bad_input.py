"""Whatever is sent, the scheduler is told, others are served, and memory stays bounded."""

import asyncio
import json
import time

import psutil
import pytest

from kubeqpu.scheduler_extender.server import MOST_BYTES
from tests.support.extender_objects import args, pod_object, qpu_object
from tests.support.extender_stand import Stand, extender
from tests.support.object_server import ObjectServer

NODES = ["n-1", "n-2"]


def one_qpu() -> ObjectServer:
    server = ObjectServer()
    server.put("qpus", qpu_object("fez", {"n-1": (4, 0), "knöten-節": (4, 0)}))
    return server


async def still_serves(stand: Stand) -> None:
    async with asyncio.timeout(1):
        assert await stand.filter(pod_object(), NODES) == {"NodeNames": ["n-1"]}


async def test_malformed_arguments_are_told_in_one_sentence() -> None:
    async with extender(one_qpu()) as stand:
        for verb in ("filter", "prioritize", "preempt"):
            for body in (b"", b"{", b"[1]", b'{"Pod":3,"NodeNames":{}}', b"\x00" * 100):
                status, text = await stand.post(verb, body)
                assert status == 400
                assert text.decode().count("\n") == 1
        status, text = await stand.post("filter", b'{"Pod":{},"Nodes":{"items":[]}}')
        assert (status, b"nodeCacheCapable: true" in text) == (400, True)
        await still_serves(stand)
        metrics = await stand.metrics()
        assert metrics['requests_total{code="400",verb="filter"}'] == 6
        assert metrics['requests_total{code="200",verb="filter"}'] == 1
        assert metrics['errors_total{what="request"}'] == 0


async def test_an_oversized_body_is_refused_before_it_is_kept() -> None:
    async with extender(one_qpu()) as stand:
        status, text = await stand.post("filter", b" " * (MOST_BYTES + 1))
        assert (status, b"larger than 32 MiB" in text) == (413, True)
        status, _ = await stand.post("filter", args(pod_object(), NODES) + b" " * 2**24)
        assert status == 200
        await still_serves(stand)


async def test_a_hundred_thousand_names_and_those_of_every_script() -> None:
    async with extender(one_qpu()) as stand:
        names = [f"node-{number}" for number in range(99_998)]
        found = await stand.filter(pod_object(), [*names, "n-1", "knöten-節"])
        assert set(found["NodeNames"]) == {"n-1", "knöten-節"}
        points = await stand.prioritize(pod_object(), [*names, "knöten-節"])
        assert len(points) == 99_999
        assert points["knöten-節"] == 10
        found = await stand.filter(pod_object(), names)
        assert len(found["FailedAndUnresolvableNodes"]) == 99_998
        none = await stand.filter(pod_object(), None)
        assert none == {"NodeNames": [], "FailedAndUnresolvableNodes": {}}


async def test_a_client_that_sends_a_byte_a_second_blocks_nobody_and_is_given_up() -> None:
    async with extender(one_qpu(), request_timeout_seconds=1.0) as stand:
        reader, writer = await asyncio.open_connection("127.0.0.1", stand.ports.extender)
        body = args(pod_object(), NODES)
        head = f"POST /filter HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body[:1])
        began = time.monotonic()
        reply = asyncio.ensure_future(reader.read())
        for byte in range(1, 3):
            for _ in range(10):
                await still_serves(stand)
            await asyncio.sleep(0.2)
            writer.write(body[byte : byte + 1])
        async with asyncio.timeout(5):
            answer = await reply
        assert answer.startswith(b"HTTP/1.1 408")
        assert b"did not arrive within 1 s" in answer
        assert time.monotonic() - began < 4
        writer.close()
        assert (await stand.metrics())['requests_total{code="408",verb="filter"}'] == 1


async def test_a_client_that_goes_away_in_the_middle_is_no_error() -> None:
    async with extender(one_qpu()) as stand:
        for _ in range(5):
            _, writer = await asyncio.open_connection("127.0.0.1", stand.ports.extender)
            writer.write(b"POST /filter HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
            await writer.drain()
            writer.close()
            await writer.wait_closed()
        await still_serves(stand)
        assert (await stand.metrics())['errors_total{what="request"}'] == 0


async def test_one_connection_carries_a_thousand_calls() -> None:
    async with extender(one_qpu()) as stand:
        reader, writer = await asyncio.open_connection("127.0.0.1", stand.ports.extender)
        body = args(pod_object(), NODES)
        head = (
            "POST /filter HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: Go-http-client/1.1\r\n"
            f"Content-Length: {len(body)}\r\nContent-Type: application/json\r\n"
            "Accept-Encoding: gzip\r\n\r\n"
        )
        for _ in range(1000):
            writer.write(head.encode() + body)
            answered = await reader.readuntil(b"\r\n\r\n")
            assert answered.startswith(b"HTTP/1.1 200")
            lines = answered.decode().lower().split("\r\n")
            assert "connection: close" not in lines
            length = next(int(line.split(": ")[1]) for line in lines if "content-length" in line)
            assert json.loads(await reader.readexactly(length)) == {"NodeNames": ["n-1"]}
        writer.close()


@pytest.mark.slow
async def test_memory_is_bounded_however_many_pods_ask_for_whatever() -> None:
    server = one_qpu()
    spread = {f"node-{number}": (1, 0) for number in range(500)}
    server.put("qpus", qpu_object("wide", spread))
    names = list(spread)[:100]

    async def ask(stand: Stand, first: int, count: int) -> float:
        for number in range(first, first + count):
            odd = number % 2
            annotations = {
                "kubeqpu.io/min-qubits": str(number if odd else 1),
                "kubeqpu.io/circuit-shape": f"{number},1",
            }
            pod = pod_object(f"pod-{number}", annotations)
            found = await stand.filter(pod, names)
            assert bool(found["NodeNames"]) == (not odd or number <= 27)
        return psutil.Process().memory_info().rss / 2**20

    async with extender(server) as stand:
        before = await ask(stand, 0, 3000)
        after = await ask(stand, 3000, 7000)
        metrics = await stand.metrics()
        assert metrics["tables"] <= 256
        assert metrics["pods_waiting"] <= 10_000
        # Decisions, tables and refused pods are kept up to a number, which 3,000 have reached.
        assert after - before < 20
