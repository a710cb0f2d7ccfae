"""The cleanup: takes the Lease, takes our labels off, and says what it could not do."""

from collections.abc import AsyncIterator

import pytest
from kubernetes.aio import client

from kubeqpu.admission.cleanup import HOLD_SECONDS, IDENTITY, remove_labels, silence_controller
from kubeqpu.admission.cluster import Cluster
from kubeqpu.admission.elector import Elector
from kubeqpu.admission.errors import CleanupError
from kubeqpu.kube.errors import APIServerError
from kubeqpu.kube.objects import ObjectsAPI
from tests.unit.admission.api_stand_in import APIStandIn, serving_objects

FEZ = {"qpu.kubeqpu.io/fez": "true", "slots.kubeqpu.io/qpu": "false"}
Server = tuple[APIStandIn, client.ApiClient]


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with serving_objects() as served:
        yield served


async def test_a_leader_stops_and_nobody_leads_while_it_is_kept(server: Server) -> None:
    stand_in, api_client = server
    cluster = Cluster(api_client, "quantum")
    stand_in.put_lease("own")
    first, second = (Elector(cluster, "own", name) for name in ("first", "second"))
    await first.step()
    assert await silence_controller(cluster, "own")
    for elector in (first, second):
        await elector.step()
        await elector.step()
        assert not elector.is_leader()
    await first.release()
    spec = stand_in.lease("own")["spec"]
    assert (spec["holderIdentity"], spec["leaseDurationSeconds"]) == (IDENTITY, HOLD_SECONDS)


async def test_a_renewal_in_between_does_not_keep_it_from_the_lease(server: Server) -> None:
    stand_in, api_client = server
    stand_in.put_lease("own", holderIdentity="first")
    renewals = iter(range(3))

    def renew() -> None:
        if next(renewals, None) is not None:
            stand_in.put_lease("own", holderIdentity="first")

    stand_in.before_write = renew
    assert await silence_controller(Cluster(api_client, "quantum"), "own")
    assert stand_in.lease("own")["spec"]["holderIdentity"] == IDENTITY


async def test_a_lease_that_never_rests_ends_it_with_what_to_do(server: Server) -> None:
    stand_in, api_client = server
    stand_in.put_lease("own", holderIdentity="first")
    stand_in.before_write = lambda: stand_in.put_lease("own", holderIdentity="first")
    with pytest.raises(CleanupError, match="scale the controller down"):
        await silence_controller(Cluster(api_client, "quantum"), "own")


@pytest.mark.parametrize("there", [True, False])
async def test_nobody_is_waited_for_where_nobody_leads(server: Server, there: bool) -> None:
    stand_in, api_client = server
    if there:
        stand_in.put_lease("own", holderIdentity="")
    assert not await silence_controller(Cluster(api_client, "quantum"), "own")
    assert bool(stand_in.objects) == there


async def test_our_labels_go_and_others_stay(server: Server) -> None:
    stand_in, api_client = server
    for index in range(25):
        stand_in.put_node(f"n{index}", team="lab", **FEZ)
    stand_in.put_node("other", team="lab")
    objects = ObjectsAPI(api_client, "test")
    assert await remove_labels(objects) == 25
    assert all(stand_in.labels(name) == {"team": "lab"} for name in stand_in.node_names())
    assert await remove_labels(objects) == 0


async def test_a_node_that_refuses_is_told_after_the_others(server: Server) -> None:
    stand_in, api_client = server
    for index in range(25):
        stand_in.put_node(f"n{index}", **FEZ)
    stand_in.refused_nodes = {"n0"}
    with pytest.raises(APIServerError, match="node n0 is forbidden"):
        await remove_labels(ObjectsAPI(api_client, "test"))
    assert [name for name in stand_in.node_names() if stand_in.labels(name)] == ["n0"]


async def test_labels_that_come_back_are_told_with_where_to_look(server: Server) -> None:
    stand_in, api_client = server
    stand_in.put_node("a", **FEZ)
    more = iter("bcdefgh")
    stand_in.before_write = lambda: stand_in.put_node(next(more), **FEZ)
    with pytest.raises(CleanupError, match=r"come back on 1 nodes.*kubectl get node c"):
        await remove_labels(ObjectsAPI(api_client, "test"))
