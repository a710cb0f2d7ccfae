"""The controller of checks beside Kueue: races, kills, and Kueue that comes and goes."""

import asyncio
import random

import pytest

from tests.support.kueue_server import Kueue, WorkloadServer
from tests.support.registration import until
from tests.unit.admission.checking import SECONDS, VERDICTS, Controller, controlling
from tests.unit.admission.gating import make_class, make_qpu
from tests.unit.admission.kueue_objects import KEY, Object, check, entry, pod_set, workload


def states(server: WorkloadServer, name: str = "w") -> dict[str, str]:
    found = server.objects["workloads", name]
    return {one["name"]: one["state"] for one in found["status"]["admissionChecks"]}


def put(server: WorkloadServer, *entries: Object, **other: object) -> None:
    made = workload(**other)  # type: ignore[arg-type]
    server.put("workloads", {**made, "status": {**made["status"], "admissionChecks": []}})
    server.update_entries(made["metadata"]["name"], list(entries or [entry()]))


class TestAdmissionChecks:
    def active(self, server: WorkloadServer) -> tuple[str, str]:
        found = server.objects["admissionchecks", "kubeqpu"]
        told = found.get("status", {}).get("conditions", [{"status": "", "reason": ""}])[0]
        return told["status"], told["reason"]

    async def test_ours_become_active_as_soon_as_their_class_exists(self) -> None:
        server = WorkloadServer()
        server.put("admissionchecks", check(class_name="fast"))
        server.put("admissionchecks", check("other", controllerName="else"))
        async with controlling(server):
            await until(lambda: self.active(server) == ("False", "BadParametersRef"))
            found = server.objects["admissionchecks", "kubeqpu"]
            assert (
                "QPUClass fast, which does not exist" in found["status"]["conditions"][0]["message"]
            )
            server.put("qpuclasses", make_class("fast", "Check"))
            await until(lambda: self.active(server) == ("True", "Active"))
            writes = server.count("PATCH", "admissionchecks")
            server.put("qpuclasses", make_class("fast", "Gate"))
            await asyncio.sleep(0.3)
            assert server.count("PATCH", "admissionchecks") == writes == 2
        assert "status" not in server.objects["admissionchecks", "other"]
        assert server.faults == []

    async def test_a_reference_to_something_else_is_told(self) -> None:
        server = WorkloadServer()
        made = check(parameters={"apiGroup": "other.io", "kind": "QPUClass", "name": "x"})
        server.put("admissionchecks", made)
        async with controlling(server):
            await until(lambda: self.active(server) == ("False", "BadParametersRef"))


class TestVerdicts:
    async def test_a_workload_gets_one_and_its_pods_the_reason(self) -> None:
        server = WorkloadServer()
        server.put("admissionchecks", check())
        server.put("qpus", make_qpu("fez", ready=True))
        async with controlling(server) as controller:
            put(server, entry("foreign"), entry())
            await until(lambda: states(server)["kubeqpu"] == "Ready")
            assert controller.metric(VERDICTS, verdict="Ready", reason="Fits") == 1
            assert controller.metric(f"{SECONDS}_count") == 1
            # Ready is taken back while nothing runs, and not written twice.
            server.put("qpus", make_qpu("fez", ready=False))
            await until(lambda: states(server)["kubeqpu"] == "Retry")
            assert controller.metric(f"{SECONDS}_count") == 1
        found = server.objects["workloads", "w"]["status"]["admissionChecks"]
        assert [one for one in found if one["name"] == "foreign"] == [entry("foreign")]
        assert "podSetUpdates" not in found[-1]
        assert (server.applied, server.faults) == (2, [])

    async def test_a_pods_wishes_are_found_at_the_pod(self) -> None:
        server = WorkloadServer()
        server.put("admissionchecks", check())
        server.put("qpus", make_qpu("fez", ready=True))
        for number, labels in ((1, {"kubeqpu.io/managed": "true"}), (2, {})):
            metadata = {
                "name": f"p{number}", "uid": f"p{number}", "labels": labels,
                "annotations": {"kubeqpu.io/min-qubits": "1000"},
            }  # fmt: skip
            server.put("pods", {"metadata": metadata})
        async with controlling(server):
            for number in (1, 2, 3):
                pod = {"apiVersion": "v1", "kind": "Pod", "name": f"p{number}", "uid": f"p{number}"}
                put(server, name=f"w{number}", ownerReferences=[pod])
            # The second pod has not our label, and the third is gone.
            await until(
                lambda: {states(server, name)["kubeqpu"] for name in ("w1", "w2")} == {"Retry"}
            )
            assert server.count("GET", "/pods/p1") == 0
            assert server.count("GET", "/pods/p2") == 1
            assert states(server, "w3")["kubeqpu"] == "Pending"

    async def test_a_check_that_comes_later_costs_another_nothing(self) -> None:
        server = WorkloadServer()
        for name in ("kubeqpu", "kubeqpu-too"):
            server.put("admissionchecks", check(name))
        server.put("qpus", make_qpu("fez", ready=True))
        async with controlling(server):
            put(server, entry("foreign"), entry())
            await until(lambda: states(server)["kubeqpu"] == "Ready")
            known = server.objects["workloads", "w"]["status"]["admissionChecks"]
            server.update_entries("w", [*known, entry("kubeqpu-too")])
            await until(lambda: states(server).get("kubeqpu-too") == "Ready")
        found = server.objects["workloads", "w"]["status"]["admissionChecks"]
        assert found[:2] == known
        assert "podSetUpdates" not in found[2]

    async def test_only_the_leader_writes(self) -> None:
        server, leads = WorkloadServer(), True
        server.put("admissionchecks", check())
        server.put("qpus", make_qpu("fez", ready=True))
        async with controlling(server, lambda: leads):
            await until(lambda: server.count("PATCH", "admissionchecks") == 1)
            leads = False
            put(server)
            await asyncio.sleep(1.5)
            assert server.count("PATCH", "workloads") == 0
            leads = True
            await until(lambda: states(server)["kubeqpu"] == "Ready")

    async def test_after_a_conflict_that_no_watch_explains_it_reads(self) -> None:
        server, leads = WorkloadServer(), False
        server.put("admissionchecks", check())
        server.put("qpus", make_qpu("fez", ready=True))
        async with controlling(server, lambda: leads) as controller:
            put(server)
            opened = "kubeqpu_admission_open_workloads"
            await until(lambda: controller.metric(opened) == 1)
            found = server.objects["workloads", "w"]
            metadata = {**found["metadata"], "resourceVersion": "10000"}
            server.objects["workloads", "w"] = {**found, "metadata": metadata}
            leads = True
            await until(lambda: server.conflicts == 1)
            await until(lambda: states(server)["kubeqpu"] == "Ready")
            assert server.conflicts == 1

    async def test_a_server_that_refuses_is_asked_again(self) -> None:
        server = WorkloadServer()
        server.put("admissionchecks", check())
        server.put("qpus", make_qpu("fez", ready=True))
        server.refuse = lambda method, path: 503 if "workloads/" in path else None
        async with controlling(server) as controller:
            put(server)
            refusals = "kubeqpu_admission_verdict_refusals_total"
            await until(lambda: controller.metric(refusals, cause="error") > 2)
            server.refuse = lambda method, path: None
            await until(lambda: states(server)["kubeqpu"] == "Ready")


async def test_kueue_may_come_later_go_and_come_back() -> None:
    server = WorkloadServer()
    served, server.kinds = server.kinds, {}
    server.put("admissionchecks", check())
    server.put("qpus", make_qpu("fez", ready=True))
    async with controlling(server):
        put(server)
        await asyncio.sleep(0.4)
        assert server.count("GET", "v1beta2/") == 0
        server.kinds = served
        await until(lambda: states(server)["kubeqpu"] == "Ready")
        server.kinds = {}
        server.refuse = lambda method, path: 404 if "v1beta2/" in path else None
        await until(lambda: server.count("GET", "v1beta2") > 10)
        server.refuse = lambda method, path: None
        asked = server.count("GET", "v1beta2/workloads")
        await asyncio.sleep(0.4)
        assert server.count("GET", "v1beta2/workloads") == asked
        put(server, name="later")
        server.kinds = served
        await until(lambda: states(server, "later")["kubeqpu"] == "Ready")
    assert server.faults == []


async def test_conflicts_and_evictions_strand_nothing() -> None:
    """Workloads change all the time, a QPU comes late, another check gives its own verdicts."""
    server = WorkloadServer()
    checks = ["foreign", "kubeqpu", "kubeqpu-too"]
    server.put("admissionchecks", check())
    server.put("admissionchecks", check("kubeqpu-too"))
    kueue = Kueue(server, checks, requeue_scale=0.01)
    async with controlling(server):
        task = asyncio.create_task(kueue.run(noise=0.3))
        names = [kueue.submit(workload(name=f"w{number}")) for number in range(40)]
        bad = pod_set(annotations={"kubeqpu.io/min-qubits": "none"})
        kueue.submit(workload(name="bad", pod_sets=[bad]))
        await asyncio.sleep(0.5)
        server.put("qpus", make_qpu("fez", ready=True))
        await until(lambda: kueue.admitted == set(names), seconds=20)
        task.cancel()
    assert kueue.rejected == {"bad"}
    assert server.conflicts > 0
    assert max(kueue.evictions.values()) > 0
    check_admitted(server, names)


def check_admitted(server: WorkloadServer, names: list[str]) -> None:
    """Nothing but our entries was written, and each pod set gets the reason from one check."""
    assert server.faults == []
    for name in names:
        entries = server.objects["workloads", name]["status"]["admissionChecks"]
        updates = [one for found in entries for one in found.get("podSetUpdates", [])]
        assert [one["name"] for one in updates] == ["main"]
        assert updates[0]["annotations"][KEY].startswith("QPU fez")
        foreign = [one for one in entries if one["name"] == "foreign"]
        assert all(one["message"] == "fine" for one in foreign)


@pytest.mark.parametrize("seed", [1, 2])
async def test_controllers_that_die_anywhere_strand_none_of_500(seed: int) -> None:
    server, chance = WorkloadServer(), random.Random(seed)
    server.answers_lost = True
    server.put("admissionchecks", check())
    server.put("qpus", make_qpu("fez", ready=True))
    kueue = Kueue(server, ["foreign", "kubeqpu"], requeue_scale=0.005, seed=seed)
    async with server.serve() as api_client:
        task = asyncio.create_task(kueue.run(noise=0.1))
        controller = Controller(api_client, lambda: True)
        names = []
        for number in range(500):
            names.append(kueue.submit(workload(name=f"w{number}")))
            if number % 10 == 0:
                await asyncio.sleep(0.01)
            if chance.random() < 0.02:
                await controller.kill()
                server.put("qpus", make_qpu("fez", ready=chance.random() < 0.7))
                controller = Controller(api_client, lambda: True)
        server.put("qpus", make_qpu("fez", ready=True))
        await until(lambda: kueue.admitted == set(names), seconds=40)
        await controller.kill()
        task.cancel()
    check_admitted(server, names)
