"""What the controller writes, and what it leaves alone, against a stand-in for the API server."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client import CollectorRegistry

from kubeqpu.admission.classes import DefaultClass
from kubeqpu.admission.cluster import Cluster
from kubeqpu.admission.elector import Elector
from kubeqpu.admission.errors import ClusterError, NotFoundError
from kubeqpu.admission.health import Limits, Moment
from kubeqpu.admission.leases import Lease
from kubeqpu.admission.monitor import Monitor
from kubeqpu.admission.observations import Observations
from kubeqpu.admission.telemetry import Telemetry
from kubeqpu.common import api
from tests.unit.admission.api_stand_in import APIStandIn, Object, serving

START = datetime(2026, 11, 23, 12, tzinfo=UTC)
LEASE = api.lease_name("aer")


def ready(status: str, reason: str = "Reachable") -> Object:
    return {"type": "Ready", "status": status, "reason": reason, "message": "",
            "lastTransitionTime": "2026-11-23T11:00:00Z"}  # fmt: skip


class Room:
    """A monitor and what it works with, on a clock that the test turns."""

    def __init__(self, server: APIStandIn, cluster: Cluster) -> None:
        self.server, self.cluster = server, cluster
        self.now = Moment(0.0, START)
        self.leads = True
        self.registry = CollectorRegistry()
        self.telemetry = Telemetry(self.registry)
        limits = Limits()
        self.seen = Observations(limits, lambda: self.now)
        self.monitor = Monitor(cluster, self.seen, limits, lambda: self.leads, self.telemetry,
                               namespace="quantum", instance="one")  # fmt: skip
        self.default = DefaultClass(
            cluster, lambda: self.leads, self.telemetry, lambda: self.now.monotonic
        )

    def wait(self, seconds: int) -> None:
        for _ in range(seconds):
            self.now = Moment(self.now.monotonic + 1, self.now.wall + timedelta(seconds=1))
            self.seen.see_lease(Lease("own", renewed=self.now.wall), listed=False)

    async def fall_silent(self, *conditions: Object) -> None:
        """A QPU whose Lease was renewed at the start and never since."""
        self.server.put_qpu("aer", list(conditions))
        renewed = START.isoformat()
        self.server.put_lease(LEASE, renewTime=renewed, holderIdentity="gateway-0")
        self.seen.see_qpu(await self.cluster.read_qpu("aer"))
        self.seen.see_lease(Lease(LEASE, renewed=START), listed=True)
        self.wait(40)

    def writes(self, written: str) -> float | None:
        sample = "kubeqpu_controller_writes_total"
        return self.registry.get_sample_value(sample, {"object": written})

    def conditions(self) -> dict[str, Object]:
        return {one["type"]: one for one in self.server.qpu("aer")["status"]["conditions"]}


@pytest.fixture
async def room() -> AsyncIterator[Room]:
    async with serving() as (server, cluster):
        yield Room(server, cluster)


async def test_a_silent_gateway_is_written_once_with_what_to_do(room: Room) -> None:
    await room.fall_silent(ready("True"), {**ready("True"), "type": "Accepting"})
    await room.monitor.step()
    await room.monitor.step()
    told = room.conditions()["Ready"]
    assert (told["status"], told["reason"]) == ("Unknown", "GatewaySilent")
    assert told["observedGeneration"] == 3
    assert told["lastTransitionTime"] > "2026-11-23T11:00:00Z"
    assert told["message"] == (
        "The gateway at gateway:7070 has not renewed Lease quantum/kubeqpu-qpu-aer since "
        "2026-11-23T12:00:00Z; whether it works is not known. Its queued circuits wait for its "
        "return. See what became of its pod: kubectl describe pod gateway-0 --namespace=quantum"
    )
    assert room.conditions()["Accepting"]["status"] == "True"
    assert [event["reason"] for event in room.server.posted] == ["GatewaySilent"]
    assert room.server.posted[0]["regarding"]["uid"] == "uid-aer"
    assert room.server.posted[0]["note"] == told["message"]
    assert (room.writes("condition"), room.writes("event")) == (1, 1)


async def test_a_status_that_stays_keeps_its_transition_time(room: Room) -> None:
    await room.fall_silent(ready("Unknown", "ProviderUnreachable"))
    await room.monitor.step()
    told = room.conditions()["Ready"]
    assert told["reason"] == "GatewaySilent"
    assert told["lastTransitionTime"] == "2026-11-23T11:00:00Z"


async def test_a_renewal_that_the_watch_did_not_show_stops_the_write(room: Room) -> None:
    await room.fall_silent(ready("True"))
    room.server.put_lease(LEASE, renewTime=(START + timedelta(seconds=39)).isoformat())
    await room.monitor.step()
    assert room.conditions()["Ready"]["status"] == "True"
    assert not any(request.startswith("PATCH") for request in room.server.requests)


async def test_a_gateway_that_returns_between_decision_and_write_wins(room: Room) -> None:
    await room.fall_silent(ready("False"))
    back = [ready("True", "Back")]
    room.server.before_write = lambda: room.server.put_qpu("aer", back)
    await room.monitor.step()
    assert room.conditions()["Ready"]["reason"] == "Back"
    assert any(request.startswith("PATCH") for request in room.server.requests)
    assert room.server.posted == []
    assert room.writes("condition") == 0


async def test_who_contradicts_without_renewing_is_not_fought_every_second(room: Room) -> None:
    await room.fall_silent(ready("True"))
    for _ in range(5):
        await room.monitor.step()
        room.server.put_qpu("aer", [ready("True")])
        room.seen.see_qpu(await room.cluster.read_qpu("aer"))
    assert room.writes("condition") == 1


async def test_only_the_leader_writes(room: Room) -> None:
    await room.fall_silent(ready("True"))
    room.leads = False
    await room.monitor.step()
    await room.default.step()
    assert not any(request.startswith(("PATCH", "POST")) for request in room.server.requests)


async def test_a_lead_lost_between_decision_and_write_stops_the_write(room: Room) -> None:
    await room.fall_silent(ready("True"))
    answers = iter([True, False])
    monitor = Monitor(room.cluster, room.seen, Limits(), lambda: next(answers), room.telemetry,
                      namespace="quantum", instance="one")  # fmt: skip
    await monitor.step()
    assert room.conditions()["Ready"]["status"] == "True"


async def test_a_lease_that_cannot_be_read_judges_nobody(room: Room) -> None:
    await room.fall_silent(ready("True"))
    room.server.down = True
    with pytest.raises(ClusterError, match="the server is currently unable"):
        await room.monitor.step()
    room.server.down = False
    assert room.conditions()["Ready"]["status"] == "True"


async def test_a_qpu_that_is_gone_is_forgotten(room: Room) -> None:
    await room.fall_silent(ready("True"))
    room.server.objects.clear()
    await room.monitor.step()
    assert room.seen.untold() == []
    with pytest.raises(NotFoundError):
        await room.cluster.read_qpu("aer")


async def test_the_default_class_is_made_where_there_is_none(room: Room) -> None:
    room.server.put_class("fast", None)
    await room.default.step()
    made = room.server.classes()["standard"]
    assert made["metadata"]["annotations"] == {"kubeqpu.io/is-default-class": "true"}
    assert api.QPUClass.from_manifest(made).spec.admission is api.AdmissionMode.GATE
    await room.default.step()
    assert room.writes("class") == 1


@pytest.mark.parametrize(
    "classes", [{"gold": "true"}, {"standard": "true"}, {"standard": "false"}, {"standard": None}]
)
async def test_an_admins_choice_stands(room: Room, classes: dict[str, str | None]) -> None:
    for name, default in classes.items():
        room.server.put_class(name, default)
    before = dict(room.server.classes())
    await room.default.step()
    assert room.server.classes() == before
    assert not any(request.startswith("POST") for request in room.server.requests)


async def test_a_deleted_default_returns_after_a_while_in_which_it_can_be_replaced(
    room: Room,
) -> None:
    await room.default.step()
    await room.default.step()
    room.server.delete_class("standard")
    assert await room.default.step() == 10
    room.server.put_class("gold", "true")
    room.wait(11)
    await room.default.step()
    assert set(room.server.classes()) == {"gold"}
    room.server.delete_class("gold")
    await room.default.step()
    room.wait(10)
    await room.default.step()
    assert set(room.server.classes()) == {"standard"}


async def test_it_waits_for_the_definitions(room: Room) -> None:
    room.server.kinds = []
    assert await room.default.step() == 1
    assert room.server.classes() == {}


async def test_the_lease_is_taken_renewed_by_one_request_and_given_up(room: Room) -> None:
    room.server.put_lease("own")
    one, other = (Elector(room.cluster, "own", name) for name in ("one", "other"))
    await one.step()
    assert one.is_leader()
    await other.step()
    assert not other.is_leader()
    room.server.requests.clear()
    await one.step()
    assert room.server.requests == [
        "PATCH /apis/coordination.k8s.io/v1/namespaces/quantum/leases/own"
    ]
    await one.release()
    assert not one.is_leader()
    await other.step()
    assert other.is_leader()
    assert room.server.lease("own")["spec"]["leaseTransitions"] == 2


async def test_a_lease_that_someone_else_wrote_is_lost_at_once(room: Room) -> None:
    room.server.put_lease("own")
    one = Elector(room.cluster, "own", "one")
    await one.step()
    room.server.put_lease("own", holderIdentity="thief", leaseDurationSeconds=10)
    await one.step()
    assert not one.is_leader()
    await one.release()
    assert room.server.lease("own")["spec"]["holderIdentity"] == "thief"


async def test_a_missing_lease_is_an_error_and_is_not_made(room: Room) -> None:
    one = Elector(room.cluster, "own", "one")
    with pytest.raises(NotFoundError, match="Lease quantum/own"):
        await one.step()
    assert room.server.objects == {}
