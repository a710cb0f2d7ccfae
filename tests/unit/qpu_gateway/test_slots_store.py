"""Slots and the jobs of their holders, on either database."""

import dataclasses

import alembic.command
import alembic.config
import sqlalchemy as sa

from kubeqpu.qpu_gateway.jobs import JobState, Submitter
from kubeqpu.qpu_gateway.settings import Limits
from kubeqpu.qpu_gateway.slots.slot import Holding, Slot
from kubeqpu.qpu_gateway.store import Store
from kubeqpu.qpu_gateway.store.migration import _MIGRATIONS
from tests.support.store import OpenDatabase, make_job

HELD = Slot("q", 1, "node-1", 7, Holding("team", "web-0", "main", "uid-1", 1_700_000_000.25))


async def test_slots_come_back_as_they_were_saved(open_database: OpenDatabase) -> None:
    store = Store(open_database(0), Limits())
    await store.open()
    assert await store.read_slots() == []
    slots = [Slot("q", 0, "node-1"), HELD, Slot("r", 0, generation=2**40)]
    await store.save_slots(slots)
    assert await store.read_slots() == slots
    moved = dataclasses.replace(HELD, node="", generation=8, holding=None)
    await store.save_slots([moved])
    store.close()
    again = Store(open_database(0), Limits())
    assert await again.read_slots() == [slots[0], moved, slots[2]]
    many = [Slot("s", number, "node-2") for number in range(1000)]
    await again.save_slots(many)
    await again.save_slots(many)
    await again.save_slots([])
    assert len(await again.read_slots()) == 1003
    again.close()


async def test_jobs_that_end_with_their_pod_are_found(open_database: OpenDatabase) -> None:
    store = Store(open_database(0), Limits())
    await store.open()
    web = {"pod": "web-0", "pod_uid": "uid-1", "follows_pod": True}
    kinds: list[dict[str, object]] = [
        web,
        web,
        web | {"follows_pod": False},
        web | {"pod_uid": "uid-2"},
        {},
    ]
    for number, kind in enumerate(kinds):
        new = dataclasses.replace(make_job(number, "team", f"k{number}"), **kind)  # type: ignore[arg-type]
        job, _ = await store.insert_job(new)
        assert (job.pod, job.pod_uid, job.follows_pod) == (new.pod, new.pod_uid, new.follows_pod)
        assert await store.read_job(job.id) == job
    first, second = (
        Submitter("team", "web-0", "uid-1", "q"),
        Submitter("team", "web-0", "uid-2", "q"),
    )
    assert set(await store.list_submitters()) == {first, second}
    ids = [f"{number:032d}" for number in range(len(kinds))]
    assert await store.list_followers(first) == ids[:2]
    assert await store.list_followers(dataclasses.replace(first, tenant="other")) == []
    await store.change_state(ids[0], JobState.CANCELLED, "why")
    assert await store.list_followers(first) == ids[1:2]
    await store.change_state(ids[1], JobState.RUNNING)
    await store.change_state(ids[3], JobState.FAILED, "why")
    assert await store.list_submitters() == [first]
    store.close()


async def test_an_orphan_is_cancelled_once_and_frees_its_key(open_database: OpenDatabase) -> None:
    store = Store(open_database(0), Limits())
    await store.open()
    new = make_job(1, "team", "k" * 128)
    new = dataclasses.replace(new, pod="web", pod_uid="uid-1", follows_pod=True)
    job, _ = await store.insert_job(new)
    mine = job.submitter
    assert mine == Submitter("team", "web", "uid-1", "q")
    # Another pod took it over meanwhile.
    await store.hand_over(job.id, "web-2", "uid-2", follows_pod=True)
    assert await store.cancel_orphan(job.id, mine, "why") is None
    await store.hand_over(job.id, "web-2", "uid-2", follows_pod=False)
    assert await store.cancel_orphan(job.id, dataclasses.replace(mine, pod="web-2"), "why") is None
    await store.hand_over(job.id, "web", "uid-1", follows_pod=True)
    cancelled = await store.cancel_orphan(job.id, mine, "why")
    assert cancelled is not None
    assert (cancelled.state, cancelled.message) == (JobState.CANCELLED, "why")
    assert cancelled.idempotency_key == "k" * 80 + f"#orphaned-{job.id}"
    assert await store.cancel_orphan(job.id, mine, "why") is None
    _, is_new = await store.insert_job(dataclasses.replace(new, id="2" * 32))
    assert is_new
    store.close()


async def test_jobs_of_an_earlier_version_follow_nobody(open_database: OpenDatabase) -> None:
    database = open_database(0)
    connection = database.connect_writer()
    with connection.begin():
        config = alembic.config.Config()
        config.set_main_option("script_location", str(_MIGRATIONS))
        config.attributes["connection"] = connection
        alembic.command.downgrade(config, "0002")
        columns = {
            "id": "1" * 32, "tenant": "team", "idempotency_key": "k", "spec_digest": "d",
            "qpu": "q", "placement": "", "seed": "1", "state": 1, "message": "", "circuits": 1,
            "circuits_finished": 0, "priority": 0, "submitted_at": 0.0,
            "result_ttl_seconds": 1.0, "qpu_seconds": 0.0,
        }  # fmt: skip
        names = ", ".join(columns)
        values = ", ".join(f":{name}" for name in columns)
        connection.execute(sa.text(f"INSERT INTO jobs ({names}) VALUES ({values})"), columns)
    connection.close()
    database.close()
    store = Store(open_database(0), Limits())
    await store.open()
    job = await store.read_job("1" * 32)
    assert (job.pod, job.pod_uid, job.follows_pod) == ("", "", False)
    assert await store.list_submitters() == []
    store.close()
