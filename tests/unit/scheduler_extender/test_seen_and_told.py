"""What the extender reads of a QPU object, and what it does with more Events than it can write."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from prometheus_client import CollectorRegistry

from kubeqpu.kube.objects import ObjectsAPI
from kubeqpu.scheduler_extender.activity import REST_SECONDS, Activity
from kubeqpu.scheduler_extender.events import LONGEST_DELAY_SECONDS, EventQueue
from kubeqpu.scheduler_extender.qpus import read_qpu
from kubeqpu.scheduler_extender.telemetry import Telemetry
from tests.support.extender_objects import qpu_object
from tests.support.object_server import ObjectServer

DROPPED = "kubeqpu_scheduler_extender_events_dropped_total"


def test_a_slot_seems_free_where_fewer_are_held_than_there_are() -> None:
    nodes = {"full": (2, 2), "free": (2, 1), "lost": (0, 1), "none": (0, 0)}
    seen = read_qpu(qpu_object("fez", nodes), datetime.now(UTC))
    assert seen.nodes == {"full": False, "free": True, "lost": False}


async def test_events_beyond_those_that_may_wait_are_given_up_and_counted() -> None:
    registry = CollectorRegistry()
    async with ObjectServer().serve() as api_client:
        objects, telemetry = ObjectsAPI(api_client, "test"), Telemetry(registry)
        queue = EventQueue(objects, telemetry, Activity(), "pod-0", most=2)
        for number in range(5):
            queue.tell("lab", f"pod-{number}", "uid", "QPU fez on node n-1 scored best.")
        assert registry.get_sample_value(DROPPED) == 3


@asynccontextmanager
async def telling(
    activity: Activity, clock: Callable[[], float] = time.monotonic
) -> AsyncIterator[ObjectServer]:
    """An API server that is told about a pod while a scheduler is active."""
    server = ObjectServer()
    async with server.serve() as api_client:
        objects, telemetry = ObjectsAPI(api_client, "test"), Telemetry(CollectorRegistry())
        queue = EventQueue(objects, telemetry, activity, "pod-0", clock=clock)
        activity.note()
        queue.tell("lab", "pod", "uid", "QPU fez on node n-1 scored best.")
        running = asyncio.create_task(queue.run())
        yield server
        running.cancel()


async def keep_asking(activity: Activity, seconds: float) -> None:
    """A scheduler that has pod after pod to place."""
    ends_at = time.monotonic() + seconds
    while time.monotonic() < ends_at:
        activity.note()
        await asyncio.sleep(REST_SECONDS / 10)


async def test_pods_are_told_about_when_the_scheduler_rests() -> None:
    activity = Activity()
    async with telling(activity) as server:
        await keep_asking(activity, 5 * REST_SECONDS)
        assert server.count("POST", "events") == 0
        await asyncio.sleep(4 * REST_SECONDS)
        assert server.count("POST", "events") == 1


async def test_pods_are_told_about_in_the_end_though_it_never_rests() -> None:
    activity = Activity()
    began_at = time.monotonic() - LONGEST_DELAY_SECONDS + 2 * REST_SECONDS
    ticks = iter([began_at])
    async with telling(activity, lambda: next(ticks)) as server:
        await keep_asking(activity, 6 * REST_SECONDS)
        assert server.count("POST", "events") == 1
