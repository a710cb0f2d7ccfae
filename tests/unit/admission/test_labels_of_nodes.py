"""Labels of nodes: what is decided, and that nodes get there whatever happens to them."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from kubeqpu.admission import nodelabels
from kubeqpu.admission.labeller import NodeLabeller
from kubeqpu.admission.nodes import FIELD_MANAGER
from kubeqpu.admission.telemetry import Telemetry
from kubeqpu.kube.errors import APIServerError
from kubeqpu.kube.objects import ObjectsAPI
from kubeqpu.kube.resources import NODES, name_of
from tests.unit.admission.api_stand_in import serving_objects
from tests.unit.admission.labelling import QPU_RESOURCE, Room, qpu

FEZ = {"qpu.kubeqpu.io/fez": "true", "slots.kubeqpu.io/qpu": "true"}
AER = {"qpu.kubeqpu.io/aer": "true", "slots.kubeqpu.io/cpu-simulator": "true"}
OTHERS = {"kubernetes.io/hostname": "a", "kubeqpu.io/team": "lab", "qpu.example.com/fez": "no"}


def test_a_node_is_labelled_by_each_of_its_qpus_and_their_resources() -> None:
    found = (
        qpu("fez", a=2, b=0),
        qpu("torino", a=1),
        qpu("aer", "kubeqpu.io/cpu-simulator", b=1),
    )
    qpus = [nodelabels.read_slots(one) for one in found]
    assert nodelabels.want(qpus) == {
        "a": {"qpu.kubeqpu.io/fez", "qpu.kubeqpu.io/torino", "slots.kubeqpu.io/qpu"},
        "b": set(AER),
    }


def test_only_keys_below_our_prefixes_are_ours() -> None:
    assert nodelabels.find_ours({**FEZ, **OTHERS}) == FEZ


KEYS = st.sampled_from([*FEZ, *AER, "slots.kubeqpu.io/gpu-simulator"])


@given(st.dictionaries(KEYS, st.sampled_from(["true", "false", ""])), st.frozensets(KEYS))
def test_mending_leads_to_what_is_wanted_and_then_to_nothing(
    found: dict[str, str], wanted: frozenset[str]
) -> None:
    patch = nodelabels.mend(found, wanted)
    merged = {key: value for key, value in {**found, **patch}.items() if value is not None}
    assert merged == dict.fromkeys(wanted, "true")
    assert nodelabels.mend(merged, wanted) == {}
    assert all(found.get(key) != value for key, value in patch.items())


@pytest.fixture
async def room() -> AsyncIterator[Room]:
    async with serving_objects() as (server, api_client):
        yield Room(server, ObjectsAPI(api_client, FIELD_MANAGER))


async def test_labels_follow_the_slots_and_leave_those_of_others(room: Room) -> None:
    room.server.put_node("a", **OTHERS)
    room.server.put_node("b")
    room.labeller.see_all((qpu("fez", a=1), qpu("aer", "kubeqpu.io/cpu-simulator", a=1, b=1)))
    await room.settle()
    assert room.server.labels("a") == {**OTHERS, **FEZ, **AER}
    assert room.server.labels("b") == AER
    room.labeller.see(qpu("fez", b=1))
    await room.settle()
    assert room.server.labels("a") == {**OTHERS, **AER}
    assert room.server.labels("b") == {**FEZ, **AER}
    room.labeller.forget("aer")
    await room.settle()
    assert room.server.labels("a") == OTHERS
    assert room.server.labels("b") == FEZ


async def test_nothing_is_written_when_nothing_changed(room: Room) -> None:
    room.server.put_node("a")
    room.labeller.see_all((qpu("fez", a=1),))
    assert await room.settle() > 50
    room.labeller.see(qpu("fez", a=7))
    room.labeller.see_all((qpu("fez", a=1),))
    await room.resync()
    assert room.writes() == 1


async def test_drift_is_mended_and_labels_of_qpus_that_are_gone_go(room: Room) -> None:
    room.server.put_node("a", **{"qpu.kubeqpu.io/gone": "true", "slots.kubeqpu.io/qpu": "no"})
    room.server.put_node("b", **FEZ, **OTHERS)
    room.labeller.see_all((qpu("fez", a=1),))
    await room.settle()
    assert room.server.labels("a") == FEZ
    assert room.server.labels("b") == OTHERS
    room.server.put_node("a", **{"qpu.kubeqpu.io/fez": "false"})
    await room.resync()
    assert room.server.labels("a") == FEZ


async def test_no_label_goes_before_all_qpus_are_known(room: Room) -> None:
    room.server.put_node("a", **FEZ)
    assert await room.settle() == 1
    room.labeller.see(qpu("aer", "kubeqpu.io/cpu-simulator", a=1))
    assert await room.settle() == 1
    assert room.server.labels("a") == FEZ


async def test_only_the_leader_writes_and_a_new_one_looks_at_all_nodes(room: Room) -> None:
    room.server.put_node("a")
    room.labeller.see_all((qpu("fez", a=1),))
    room.leads = False
    assert await room.settle() == 1
    assert room.server.requests == []
    room.leads = True
    await room.settle()
    room.leads = False
    await room.settle()
    room.server.put_node("a", **{"qpu.kubeqpu.io/gone": "true"})
    room.leads = True
    await room.settle()
    assert room.server.labels("a") == FEZ


async def test_a_lead_lost_between_decision_and_write_stops_the_write(room: Room) -> None:
    room.server.put_node("a")
    room.labeller.see_all((qpu("fez", a=1),))
    room.answers, room.leads = [True], False
    await room.labeller.step()
    assert room.writes() == 0


async def test_a_node_that_does_not_exist_is_not_made_and_waits_for_the_next_look(
    room: Room,
) -> None:
    room.labeller.see_all((qpu("fez", late=1),))
    assert await room.settle() > 50
    assert room.server.node_names() == set()
    assert room.writes() == 1
    room.server.put_node("late")
    await room.resync()
    assert room.server.labels("late") == FEZ


async def test_a_node_that_refuses_does_not_hold_up_the_others(room: Room) -> None:
    names = [f"n{index}" for index in range(30)]
    for name in names:
        room.server.put_node(name)
    room.server.refused_nodes = set(names[:12])
    room.labeller.see_all((qpu("fez", **dict.fromkeys(names, 1)),))
    with pytest.raises(APIServerError, match="is forbidden"):
        await room.settle()
    assert all(room.server.labels(name) == FEZ for name in names[12:])
    room.server.refused_nodes = set()
    await room.settle()
    assert all(room.server.labels(name) == FEZ for name in names)


async def test_an_outage_ends_the_step_at_its_first_write(room: Room) -> None:
    room.server.put_node("a")
    room.labeller.see_all((qpu("fez", a=1),))
    await room.settle()
    room.labeller.see_all(())
    room.server.down = True
    with pytest.raises(APIServerError, match="currently unable"):
        await room.labeller.step()
    room.server.down = False
    await room.settle()
    assert room.server.labels("a") == {}


async def test_a_burst_is_written_at_fifty_a_second() -> None:
    names = [f"n{index}" for index in range(60)]
    async with serving_objects() as (server, api_client):
        loop = asyncio.get_running_loop()
        objects = ObjectsAPI(api_client, FIELD_MANAGER)
        labeller = NodeLabeller(objects, lambda: True, Telemetry(CollectorRegistry()), loop.time)
        for name in names:
            server.put_node(name)
        labeller.see_all((qpu("fez", **dict.fromkeys(names, 1)),))
        began = loop.time()
        while not await labeller.step():
            pass
        # The first ten do not wait.
        assert 0.95 < loop.time() - began < 5
        assert all(server.labels(name) == FEZ for name in names)


async def test_the_metadata_of_all_objects_comes_in_pages() -> None:
    async with serving_objects() as (server, api_client):
        for index in range(7):
            server.put_node(f"n{index}")
        objects = ObjectsAPI(api_client, FIELD_MANAGER)
        pages = [page async for page in objects.list_metadata(NODES, page_size=3)]
        assert [len(page) for page in pages] == [3, 3, 1]
        assert {name_of(node) for page in pages for node in page} == server.node_names()


NODE, QPU = st.sampled_from("abc"), st.sampled_from(["fez", "aer"])
RESOURCE = st.sampled_from([QPU_RESOURCE, "kubeqpu.io/cpu-simulator"])
PLACES = st.dictionaries(NODE, st.integers(0, 2))
EVENTS = st.one_of(
    st.tuples(st.just("status"), QPU, RESOURCE, PLACES),
    st.tuples(st.just("forget"), QPU),
    st.tuples(st.just("drift"), NODE, st.dictionaries(KEYS, st.sampled_from(["true", "no"]))),
    st.tuples(st.just("remove"), NODE),
    st.tuples(st.just("lead"), st.booleans()),
    st.tuples(st.just("settle")),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(EVENTS, max_size=12))
def test_whatever_happened_the_labels_become_what_is_wanted(events: list[Any]) -> None:
    asyncio.run(follow(events))


async def follow(events: list[Any]) -> None:
    async with serving_objects() as (server, api_client):
        room = Room(server, ObjectsAPI(api_client, FIELD_MANAGER))
        room.labeller.see_all(())
        slots: dict[str, tuple[str, dict[str, int]]] = {}
        for kind, *rest in events:
            match kind, rest:
                case "status", [name, resource, places]:
                    slots[name] = (resource, places)
                    room.labeller.see(qpu(name, resource, **places))
                case "forget", [name]:
                    slots.pop(name, None)
                    room.labeller.forget(name)
                case "drift", [node, labels]:
                    server.put_node(node, **OTHERS, **labels)
                case "remove", [node] if node in server.node_names():
                    server.delete_node(node)
                case "lead", [leads]:
                    room.leads = leads
                case "settle", []:
                    await room.settle()
        room.leads = True
        there = server.node_names()
        await room.resync()
        assert server.node_names() == there
        for node in there:
            wanted = {
                key
                for name, (resource, places) in slots.items()
                if places.get(node)
                for key in (f"qpu.kubeqpu.io/{name}", f"slots.{resource}")
            }
            assert server.labels(node) == {**OTHERS, **dict.fromkeys(wanted, "true")}
        writes = room.writes()
        assert await room.settle() > 0
        assert room.writes() == writes
