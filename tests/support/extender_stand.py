"""The scheduler extender with a stand-in of the API server under it, asked over HTTP."""

import asyncio
import io
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp

from kubeqpu.common.names import ANNOTATION_PLACEMENT
from kubeqpu.scheduler_extender.service import Ports, serve_extender
from kubeqpu.scheduler_extender.settings import ExtenderSettings
from tests.support.extender_objects import Object, args, preempt_args
from tests.support.object_server import ObjectServer


@dataclass
class Stand:
    """The extender, and what it runs on."""

    server: ObjectServer
    ports: Ports
    session: aiohttp.ClientSession

    def url(self, verb: str) -> str:
        return f"http://127.0.0.1:{self.ports.extender}/{verb}"

    async def post(self, verb: str, body: bytes) -> tuple[int, bytes]:
        headers = {"Content-Type": "application/json"}
        data = io.BytesIO(body)
        async with self.session.post(self.url(verb), data=data, headers=headers) as reply:
            return reply.status, await reply.read()

    async def ask(self, verb: str, body: bytes) -> Any:
        status, answer = await self.post(verb, body)
        assert status == 200, answer
        return json.loads(answer)

    async def filter(self, pod: Object, nodes: Sequence[str] | None) -> Any:
        return await self.ask("filter", args(pod, nodes))

    async def prioritize(self, pod: Object, nodes: Sequence[str] | None) -> dict[str, int]:
        found = await self.ask("prioritize", args(pod, nodes))
        return {item["Host"]: item["Score"] for item in found}

    async def preempt(self, pod: Object, nodes: Sequence[str]) -> Any:
        return await self.ask("preempt", preempt_args(pod, nodes))

    async def explanation(self, pod: str, seconds: float = 10.0) -> Any:
        """Waits until a pod carries an explanation, and reads it."""

        async def explained() -> bool:
            return ANNOTATION_PLACEMENT in annotations_of(self.server, pod)

        await until_true(explained, seconds)
        return json.loads(annotations_of(self.server, pod)[ANNOTATION_PLACEMENT])

    async def readiness(self) -> tuple[int, str]:
        async with self.session.get(f"http://127.0.0.1:{self.ports.health}/readyz") as reply:
            return reply.status, await reply.text()

    async def metrics(self) -> dict[str, float]:
        async with self.session.get(f"http://127.0.0.1:{self.ports.metrics}/metrics") as reply:
            lines = (await reply.text()).splitlines()
        samples = (line.rpartition(" ") for line in lines if not line.startswith("#"))
        prefix = "kubeqpu_scheduler_extender_"
        return {name.removeprefix(prefix): float(value) for name, _, value in samples}


@asynccontextmanager
async def extender(server: ObjectServer, **settings: Any) -> AsyncIterator[Stand]:
    """Runs the extender until the context ends; it has listed what there is when it begins."""
    made = ExtenderSettings(
        port=0, health_address="127.0.0.1", health_port=0, metrics_address="127.0.0.1",
        metrics_port=0, pod_name="extender-1", **settings,
    )  # fmt: skip
    async with (
        server.serve() as api_client,
        serve_extender(made, api_client) as ports,
        aiohttp.ClientSession() as session,
    ):
        stand = Stand(server, ports, session)
        if server.answer is None:
            await until_ready(stand)
        yield stand


def annotations_of(server: ObjectServer, pod: str) -> Object:
    """Reads a pod's annotations."""
    found: Object = server.objects[("pods", pod)]["metadata"].get("annotations", {})
    return found


async def until_true(condition: Callable[[], Awaitable[bool]], seconds: float = 10.0) -> float:
    """Waits until something asked again and again is true; gives the seconds that took."""
    began = time.monotonic()
    while not await condition():
        assert time.monotonic() < began + seconds, "waited too long"
        await asyncio.sleep(0.01)
    return time.monotonic() - began


async def until_ready(stand: Stand, status: int = 200) -> None:
    """Waits until readiness answers with a status."""

    async def found() -> bool:
        return (await stand.readiness())[0] == status

    await until_true(found)
