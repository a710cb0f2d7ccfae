"""Registration against a stand-in for the API server that is slow, refuses and breaks off."""

import asyncio
import time

import pytest

from kubeqpu.common import api
from kubeqpu.kube.objects import ObjectsAPI
from kubeqpu.proto.v1 import qpu_pb2
from kubeqpu.qpu_gateway.cluster.leases import LeaseKeeper
from kubeqpu.qpu_gateway.cluster.registration import Registration
from kubeqpu.qpu_gateway.errors import ProviderError
from kubeqpu.qpu_gateway.providers.base import QPUSettings
from kubeqpu.qpu_gateway.qpus import QPUs
from kubeqpu.qpu_gateway.workers import WorkerLimits, WorkerPool
from tests.integration.gateway_support import CoinProvider
from tests.support.object_server import ObjectServer
from tests.support.registration import CLUSTER, ROLE, Stand, stand, until


def test_settings_of_the_stand_are_those_of_a_chart() -> None:
    assert api.lease_name("coin") == "kubeqpu-qpu-coin"


async def test_nothing_is_written_while_nothing_changes() -> None:
    async with stand() as made:
        await until(made.is_ready)
        await asyncio.sleep(0.5)
        before = made.server.count("PATCH", "/qpus/")
        await asyncio.sleep(3)
        assert made.server.count("PATCH", "/qpus/") == before
        made.qpus["coin"].count_pending = lambda: 40
        await until(lambda: made.status()["queue"]["gatewayPending"] == 40, 3)


async def test_the_lease_is_there_before_the_qpu_is_ready() -> None:
    async with stand() as made:
        await until(made.is_ready)
        paths = [path for method, path in made.server.requests if method == "PATCH"]
        first_status = next(index for index, path in enumerate(paths) if path.endswith("/status"))
        assert any("/leases/" in path for path in paths[:first_status])


@pytest.mark.parametrize("status", [403, 429, 500, 503])
async def test_an_api_server_that_refuses_is_waited_for(status: int) -> None:
    server = ObjectServer()
    server.answer = status
    async with stand(server) as made:
        await asyncio.sleep(1)
        assert made.server.get("qpus", "coin") is None
        # Patience, not a storm: the first list, and a few attempts.
        assert len(made.server.requests) < 12
        server.answer = None
        await until(made.is_ready)


async def test_an_outage_of_the_api_server_takes_nothing_away() -> None:
    async with stand() as made:
        await until(made.is_ready)
        made.server.answer = 503
        made.server.drop_watches()
        made.qpus["coin"].count_pending = lambda: 40
        await asyncio.sleep(2)
        made.server.answer = None
        await until(lambda: made.status()["queue"]["gatewayPending"] == 40)
        assert made.is_ready()


@pytest.mark.slow
async def test_a_missing_owner_is_waited_for_and_one_that_leaves_ends_it() -> None:
    async with stand(owned=False) as made:
        await asyncio.sleep(1)
        assert made.server.get("qpus", "coin") is None
        made.server.put("clusterroles", ROLE)
        await until(made.is_ready)
        # As the garbage collector takes a QPU with its owner.
        del made.server.objects["clusterroles", "role-coin"]
        made.server.delete("qpus", "coin")
        await asyncio.sleep(2)
        leases = made.server.count("PATCH", "/leases/")
        await asyncio.sleep(11)
        assert made.server.get("qpus", "coin") is None
        # A Lease without its QPU would stay behind.
        assert made.server.count("PATCH", "/leases/") == leases


async def test_a_lease_is_renewed_over_and_over_whatever_fails() -> None:
    server = ObjectServer()
    async with server.serve() as api_client:
        uids = iter(["first", *["second"] * 1000])
        keeper = LeaseKeeper(
            ObjectsAPI(api_client, "kubeqpu-gateway"),
            "lab",
            "coin",
            "main-0",
            lambda: next(uids),
            0.2,
        )
        task = asyncio.create_task(keeper.run())

        def owner() -> str:
            lease = server.get("leases", "kubeqpu-qpu-coin")
            return "" if lease is None else str(lease["metadata"]["ownerReferences"][0]["uid"])

        await until(lambda: owner() == "first")
        await until(lambda: owner() == "second")
        server.answer = 500
        refused = len(server.requests)
        await until(lambda: len(server.requests) > refused)
        server.answer = None
        lease = server.get("leases", "kubeqpu-qpu-coin")
        await until(lambda: server.get("leases", "kubeqpu-qpu-coin") != lease)
        counted = len(server.requests)
        await asyncio.sleep(1.1)
        assert 4 <= len(server.requests) - counted <= 7
        task.cancel()


async def test_a_qpu_whose_provider_cannot_start_is_registered_with_the_reason() -> None:
    class Broken(CoinProvider):
        async def start(self) -> None:
            raise ProviderError("There is no backend of that name.")

    def make(settings: QPUSettings, workers: WorkerPool) -> Broken:
        return Broken(settings)

    server = ObjectServer()
    server.put("clusterroles", ROLE)
    qpus = QPUs(
        (QPUSettings(name="coin", provider="broken"),),
        {"broken": make},
        WorkerPool(WorkerLimits()),
    )
    async with server.serve() as api_client:
        registration = Registration(api_client, CLUSTER, "main-0", qpus)
        await registration.start()
        qpus["coin"].start()
        made = Stand(server, qpus, CoinProvider(qpus["coin"].settings))
        await until(lambda: made.ready() == ("False", "ProviderNotStarted"))
        conditions = {item["type"]: item for item in made.status()["conditions"]}
        await registration.stop()
        await qpus["coin"].close()
    found = server.get("qpus", "coin")
    assert found is not None
    assert found["spec"]["backendName"] == "coin"
    assert found["spec"]["simulator"] is True
    assert "no backend" in conditions["Ready"]["message"]
    assert conditions["Accepting"]["status"] == "Unknown"


@pytest.mark.timed
@pytest.mark.slow
async def test_a_provider_that_hangs_is_told_and_the_lease_goes_on() -> None:
    hanging = asyncio.Event()

    def prepare(provider: CoinProvider) -> None:
        describe = provider.describe

        async def describe_or_hang(include_target: bool = False) -> qpu_pb2.QPU:
            if hanging.is_set():
                await asyncio.sleep(3600)
            return await describe(include_target)

        provider.describe = describe_or_hang  # type: ignore[method-assign]

    async with stand(prepare=prepare) as made:
        await until(made.is_ready)
        hanging.set()
        leases = made.server.count("PATCH", "/leases/")
        took = await until(lambda: made.ready() == ("False", "ProviderTimeout"), 15)
        assert took < 11
        assert made.status()["numQubits"] == 5
        await until(lambda: made.server.count("PATCH", "/leases/") > leases, 11)
        hanging.clear()
        # The look that hangs already has to reach its limit first.
        await until(made.is_ready, 12)


@pytest.mark.parametrize("by_status", [False, True])
async def test_a_cordon_is_seen_whatever_happens_to_the_watch(by_status: bool) -> None:
    async with stand() as made:
        await until(made.is_ready)
        served = made.qpus["coin"]
        for cordoned in (True, False):
            made.server.gone, made.server.gone_by_status = 1, by_status
            made.server.drop_watches()
            found = made.server.get("qpus", "coin")
            assert found is not None
            spec = {**found["spec"], "unschedulable": cordoned}
            made.server.put("qpus", {**found, "spec": spec})
            await until(lambda: served.unschedulable is cordoned)  # noqa: B023
            assert made.server.gone == 0


async def test_a_watch_that_always_ends_is_not_taken_up_in_a_storm() -> None:
    async with stand() as made:
        await until(made.is_ready)
        made.server.gone = 10**6
        made.server.drop_watches()
        before = made.server.count("GET", "/qpus")
        await asyncio.sleep(3)
        assert made.server.count("GET", "/qpus") - before < 16


async def test_an_object_made_anew_gets_lease_and_status() -> None:
    async with stand() as made:
        await until(made.is_ready)
        old = made.server.get("qpus", "coin")
        assert old is not None
        made.server.delete("qpus", "coin")
        await until(made.is_ready)
        new = made.server.get("qpus", "coin")
        lease = made.server.get("leases", "kubeqpu-qpu-coin")
        assert new is not None
        assert lease is not None
        assert new["metadata"]["uid"] != old["metadata"]["uid"]
        (owner,) = lease["metadata"]["ownerReferences"]
        assert owner["uid"] == new["metadata"]["uid"]


async def test_a_deletion_that_no_watch_showed_is_noticed() -> None:
    async with stand() as made:
        await until(made.is_ready)
        # Nobody is told of this.
        del made.server.objects["qpus", "coin"]
        made.qpus["coin"].count_pending = lambda: 40
        await until(made.is_ready)


@pytest.mark.slow
async def test_a_slow_api_server_keeps_no_lease_waiting() -> None:
    async with stand() as made:
        await until(made.is_ready)
        made.server.delay_seconds = 1.5
        pending = iter(range(0, 10**6, 50))
        made.qpus["coin"].count_pending = lambda: next(pending)
        before = made.server.count("PATCH", "/leases/")
        await until(lambda: made.server.count("PATCH", "/leases/") > before, 12)
        # One write of a QPU at a time, however slow.
        statuses = made.server.count("PATCH", "/qpus/coin/status")
        await asyncio.sleep(3.2)
        assert made.server.count("PATCH", "/qpus/coin/status") - statuses <= 3


@pytest.mark.timed
async def test_a_planned_stop_takes_no_longer_than_its_limit() -> None:
    async with stand() as made:
        await until(made.is_ready)
        made.server.delay_seconds = 30.0
        began = time.monotonic()
    assert time.monotonic() - began < 4


async def test_transition_times_outlive_a_restart() -> None:
    server = ObjectServer()
    async with stand(server) as made:
        await until(made.is_ready)
        found = server.get("qpus", "coin")
        assert found is not None
        status = found["status"]
        for condition in status["conditions"]:
            condition["lastTransitionTime"] = "2026-01-01T00:00:00Z"
    # As a kill leaves it.
    server.put("qpus", {**found, "status": status})
    written = server.count("PATCH", "/status")

    def prepare(provider: CoinProvider) -> None:
        async def start_slowly() -> None:
            await asyncio.sleep(1.5)

        provider.start = start_slowly  # type: ignore[method-assign]

    async with stand(server, prepare) as made:
        await until(lambda: server.count("PATCH", "/status") > written)
        times = {item["type"]: item["lastTransitionTime"] for item in made.status()["conditions"]}
        assert made.is_ready()
        assert times["Ready"] == times["Accepting"] == "2026-01-01T00:00:00Z"
