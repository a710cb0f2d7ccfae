"""The Cohort follows the slots: written when it has to be, by the leader, and by nobody else."""

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from kubeqpu.admission.errors import NotFoundError
from tests.support.registration import until
from tests.unit.admission.pooling import (
    CPU,
    LABEL,
    OWNER,
    QPU,
    make_cohort,
    make_qpu,
    make_queue,
    serving,
)


async def test_quota_rises_at_once_and_falls_late() -> None:
    async with serving() as stand:
        stand.supply.see_qpu(make_qpu("fez", 3))
        await stand.pool.step()
        assert stand.quotas() == {("any", QPU): "0", ("rack", QPU): "3"}
        assert (stand.shown("rack"), stand.shown("any")) == (3, 0)
        stand.supply.see_qpu(make_qpu("fez", 3, ready=False))
        stand.now += 29
        rest = await stand.pool.step()
        assert stand.quotas()["rack", QPU] == "3"
        # It falls 30 s after it was seen to be lower; the loop looks each second.
        assert rest <= 1
        stand.now += 30
        await stand.pool.step()
        assert stand.quotas()["rack", QPU] == "0"
        assert stand.writes() == 2


async def test_cohort_goes_with_the_release() -> None:
    async with serving() as stand:
        await stand.pool.step()
        role = stand.server.get("clusterroles", OWNER)
        assert role is not None
        assert stand.cohort()["metadata"]["labels"] == LABEL
        assert stand.cohort()["metadata"]["ownerReferences"] == [{
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
            "name": OWNER, "uid": role["metadata"]["uid"],
        }]  # fmt: skip


async def test_without_its_owner_it_is_not_made() -> None:
    async with serving() as stand:
        stand.server.delete("clusterroles", OWNER)
        with pytest.raises(NotFoundError, match="ClusterRole kubeqpu-controller"):
            await stand.pool.step()
        assert stand.cohort() is None


async def test_only_the_leader_writes_and_it_knows_the_past() -> None:
    async with serving(owner="") as stand:
        stand.supply.see_qpu(make_qpu("fez", 3))
        await stand.pool.step()
        follower = stand.make_pool(CollectorRegistry())
        stand.leads = False
        await follower.step()
        stand.supply.see_qpu(make_qpu("fez", 1))
        stand.now += 20
        await follower.step()
        assert stand.writes() == 1
        # It takes over: 15 s later nothing may fall, 31 s later it does.
        stand.leads = True
        stand.now += 15
        await follower.step()
        assert stand.quotas()["rack", QPU] == "3"
        stand.now += 16
        await follower.step()
        assert stand.quotas()["rack", QPU] == "1"


async def test_one_that_starts_anew_lowers_nothing_at_once() -> None:
    async with serving(owner="") as stand:
        stand.supply.see_qpu(make_qpu("fez", 3))
        await stand.pool.step()
        stand.supply.see_qpu(make_qpu("fez", 1))
        anew = stand.make_pool(CollectorRegistry())
        await anew.step()
        assert stand.quotas()["rack", QPU] == "3"
        stand.now += 31
        await anew.step()
        assert stand.quotas()["rack", QPU] == "1"


async def test_it_is_written_when_it_changed_and_at_most_once_a_second() -> None:
    async with serving(owner="") as stand:
        for slots in range(1, 11):
            stand.supply.see_qpu(make_qpu("fez", slots))
            rest = await stand.pool.step()
            stand.now += 0.1
        assert stand.writes() == 1
        assert 0 < rest <= 0.2
        stand.now += 0.1
        for _ in range(5):
            await stand.pool.step()
            stand.now += 1
        assert stand.writes() == 2
        assert stand.quotas()["rack", QPU] == "10"


async def test_flavors_and_resources_come_and_go_with_the_queues() -> None:
    async with serving(owner="") as stand:
        await stand.pool.step()
        stand.now += 1
        stand.server.put("clusterqueues", make_queue("more", ("any",), CPU, "cpu"))
        await until(lambda: len(stand.supply.count()) == 3)
        await stand.pool.step()
        group = stand.cohort()["spec"]["resourceGroups"][0]
        assert group["coveredResources"] == [CPU, QPU]
        assert [one["name"] for one in group["flavors"]] == ["any", "rack"]
        for name in ("more", "team"):
            stand.server.delete("clusterqueues", name)
        await until(lambda: not stand.supply.count())
        stand.now += 1
        await stand.pool.step()
        assert stand.cohort()["spec"]["resourceGroups"] == []
        assert stand.shown("rack") is None


async def test_nothing_is_made_before_a_queue_names_slots() -> None:
    async with serving(owner="") as stand:
        stand.server.put("clusterqueues", make_queue("team", ("any",), "cpu"))
        await until(lambda: not stand.supply.count())
        stand.supply.see_qpu(make_qpu("fez", 3))
        await stand.pool.step()
        assert stand.cohort() is None


async def test_someone_elses_cohort_is_left_alone() -> None:
    async with serving(owner="") as stand:
        before = stand.server.put("cohorts", make_cohort())
        await until(lambda: stand.supply.cohort is not None)
        with capture_logs() as logs:
            for _ in range(5):
                await stand.pool.step()
                stand.now += 1
        assert stand.cohort() == before
        [event] = [found for key, found in stand.server.objects.items() if key[0] == "events"]
        assert (event["reason"], event["type"]) == ("CohortTaken", "Warning")
        assert "kubeqpu.io/managed=true" in event["note"]
        assert [entry["event"] for entry in logs] == ["Quota not written"]
        blocked = "kubeqpu_admission_pool_blocked"
        assert stand.registry.get_sample_value(blocked) == 1
        # Handed over, its quotas are ours, and the rest stays the admin's.
        stand.server.put("cohorts", make_cohort(**LABEL))
        await until(lambda: stand.supply.cohort is not None and stand.supply.cohort.is_ours)
        await stand.pool.step()
        assert stand.cohort()["spec"]["parentName"] == "company"
        assert stand.quotas() == {("any", QPU): "0", ("rack", QPU): "0"}
        assert stand.registry.get_sample_value(blocked) == 0


async def test_what_others_change_comes_back_but_not_for_ever() -> None:
    async with serving(owner="") as stand:
        stand.supply.see_qpu(make_qpu("fez", 3))
        for _ in range(120):
            stand.server.put("cohorts", make_cohort(**LABEL))
            await until(lambda: stand.supply.cohort is not None and not stand.supply.cohort.groups)
            stand.now += 1
            await stand.pool.step()
        assert 2 < stand.writes() < 12
        # What is new is written at once all the same.
        stand.supply.see_qpu(make_qpu("fez", 4))
        stand.now += 1
        await stand.pool.step()
        assert stand.quotas()["rack", QPU] == "4"


async def test_a_cohort_that_is_deleted_is_made_again() -> None:
    async with serving() as stand:
        await stand.pool.step()
        stand.server.delete("cohorts", "kubeqpu")
        await until(lambda: stand.supply.cohort is None)
        stand.now += 1
        await stand.pool.step()
        assert stand.cohort() is not None


async def test_flavors_without_room_are_told() -> None:
    async with serving(owner="") as stand:
        names = tuple(f"f{number:02}" for number in range(66))
        stand.server.put("clusterqueues", make_queue("team", names[:60], QPU))
        stand.server.put("clusterqueues", make_queue("more", names[60:], QPU))
        await until(lambda: len(stand.supply.count()) == 66)
        for _ in range(3):
            await stand.pool.step()
            stand.now += 1
        [event] = [found for key, found in stand.server.objects.items() if key[0] == "events"]
        assert event["reason"] == "NoRoomInCohort"
        assert "f64 of kubeqpu.io/qpu, f65 of kubeqpu.io/qpu" in event["note"]
        assert len(stand.quotas()) == 64
