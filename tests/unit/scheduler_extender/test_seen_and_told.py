"""What the extender reads of a QPU object, and what it does with more Events than it can write."""

from datetime import UTC, datetime

from prometheus_client import CollectorRegistry

from kubeqpu.kube.objects import ObjectsAPI
from kubeqpu.scheduler_extender.events import EventQueue
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
        queue = EventQueue(ObjectsAPI(api_client, "test"), Telemetry(registry), "pod-0", most=2)
        for number in range(5):
            queue.tell("lab", f"pod-{number}", "uid", "QPU fez on node n-1 scored best.")
        assert registry.get_sample_value(DROPPED) == 3
