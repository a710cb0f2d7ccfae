"""A stand-in of the API server with many QPUs that change all the time, as its own process."""

import asyncio
import multiprocessing
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection

from tests.support.extender_objects import Object, class_object, qpu_object
from tests.support.object_server import ObjectServer


def make_fleet(qpus: int, nodes: int, spread: int, seed: int) -> list[Object]:
    """Makes QPUs whose slots are spread over nodes, the same for the same seed.

    Args:
        qpus: How many QPUs.
        nodes: How many nodes.
        spread: Nodes of each QPU.
        seed: Seed of waits, errors and held slots.
    """
    generator = random.Random(seed)
    return [_make_qpu(number, nodes, spread, generator) for number in range(qpus)]


def node_names(nodes: int) -> list[str]:
    """Names the nodes as large clusters do."""
    return [f"ip-10-0-{number // 250}-{number % 250}.eu-central.example" for number in range(nodes)]


def _make_qpu(number: int, nodes: int, spread: int, generator: random.Random) -> Object:
    names = node_names(nodes)
    mine = [names[(number * spread + place) % nodes] for place in range(spread)]
    return qpu_object(
        f"qpu-{number:04}",
        {name: (2, generator.randrange(3)) for name in mine},
        wait=generator.expovariate(1 / 120),
        error=generator.uniform(1e-3, 2e-2),
        ready=generator.random() < 0.95,
    )


async def _serve(pipe: Connection, fleet: list[Object], changes_per_second: float) -> None:
    server = ObjectServer()
    for qpu in fleet:
        server.put("qpus", qpu)
    server.put("qpuclasses", class_object("precise", maxMedianTwoQubitError=1e-2))
    generator = random.Random(7)
    async with server.serve() as api_client:
        pipe.send(api_client.configuration.host)
        changes, began = 0, time.monotonic()
        while not pipe.poll():
            await asyncio.sleep(1 / changes_per_second)
            # The rate holds although sleeping takes longer than asked.
            while changes < (time.monotonic() - began) * changes_per_second:
                _change(server, generator.choice(fleet)["metadata"]["name"], generator)
                changes += 1
        pipe.send(changes)


def _change(server: ObjectServer, name: str, generator: random.Random) -> None:
    found = server.objects[("qpus", name)]
    nodes = [{**node, "held": generator.randrange(3)} for node in found["status"]["nodes"]]
    queue = {"estimatedWaitSeconds": generator.expovariate(1 / 120)}
    server.put("qpus", {**found, "status": {**found["status"], "queue": queue, "nodes": nodes}})


def _run(pipe: Connection, fleet: list[Object], changes_per_second: float) -> None:
    asyncio.run(_serve(pipe, fleet, changes_per_second))


class StandIn:
    """A running stand-in.

    Attributes:
        url: Where it listens.
    """

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self.url: str = pipe.recv()

    def stop(self) -> int:
        """Ends it; gives how many changes it made."""
        self._pipe.send(None)
        return int(self._pipe.recv())


@contextmanager
def stand_in(fleet: list[Object], changes_per_second: float) -> Iterator[StandIn]:
    """Runs the stand-in while the context is open."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_run, args=(theirs, fleet, changes_per_second), daemon=True)
    process.start()
    try:
        yield StandIn(ours)
    finally:
        process.kill()
        process.join()
