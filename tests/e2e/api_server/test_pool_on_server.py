"""The quota pool with the real Kueue: what it admits, what it keeps, and what is never touched."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.shell import wait_until
from tests.e2e.api_server.controller import ACCOUNT, Controller
from tests.e2e.api_server.queueing import (
    FAIR,
    QPU,
    admitted,
    make,
    make_job,
    make_local_queue,
    make_node,
    make_qpu,
    make_queue,
    quotas,
    report,
    shake,
    without_status,
)
from tests.e2e.api_server.server import APIServer
from tests.support.kueue_process import KueueProcess, kueue_process

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("definitions")]

NAMESPACE = "physics"
LOWER_SECONDS = 3
QUEUES = "clusterqueues.kueue.x-k8s.io"
SETTINGS = {"KUBEQPU_OWNER": ACCOUNT, "KUBEQPU_POOL_LOWER_SECONDS": str(LOWER_SECONDS)}


@pytest.fixture(scope="module")
def kueue(server: APIServer) -> Iterator[KueueProcess]:
    """Kueue with fair sharing, two teams, one of them in a cohort that was there before."""
    with kueue_process(server.cluster, {"fairSharing": FAIR}) as process:
        server.make_namespace(NAMESPACE)
        server.apply(
            make("ResourceFlavor", "default", {}),
            make("ResourceFlavor", "qpu", {"nodeLabels": {"rack": "1"}}),
            make("ResourceFlavor", "other", {"nodeLabels": {"rack": "2"}}),
            make("Cohort", "company", {"parentName": "kubeqpu"}),
            make_queue("blue", "kubeqpu", ("qpu", "other"), QPU),
            make_queue("red", "company", ("qpu", "other"), QPU),
            make_local_queue("blue", NAMESPACE),
            make_local_queue("red", NAMESPACE),
            make_node("n1", rack="1"),
            make_node("n2", rack="2"),
            make_node("n3", rack="1"),
            make_qpu("fez", 4),
            make_qpu("aer", 4),
        )
        yield process
        server.kubectl("delete", "namespace", NAMESPACE, "--wait=false")
        server.kubectl("delete", "nodes", "n1", "n2", "n3")


@pytest.fixture
def controller(
    server: APIServer, kueue: KueueProcess, kubeconfig: str, tmp_path: Path
) -> Iterator[Controller]:
    """A controller that leads, with no QPU usable and no Job there yet."""
    for name in ("fez", "aer"):
        report(server, name, {}, ready=False)
    started = Controller(kubeconfig, tmp_path / "controller.log", "controller-0", SETTINGS)
    wait_until(lambda: started.said("Lead taken"), "the controller to lead", seconds=30)
    await_quotas(server, qpu=0, other=0)
    yield started
    server.kubectl("delete", "jobs", "--all", f"--namespace={NAMESPACE}", "--cascade=foreground")
    if started.process.poll() is None:
        assert started.end() == 0


def await_quotas(server: APIServer, **expected: int) -> None:
    def is_so() -> bool:
        found = server.get("cohorts.kueue.x-k8s.io")["items"]
        ours = [one for one in found if one["metadata"]["name"] == "kubeqpu"]
        return bool(ours) and quotas(server) == expected

    wait_until(is_so, f"quotas {expected}", seconds=20, every=0.2)


def submit(server: APIServer, queue: str, jobs: int) -> None:
    server.apply(*(make_job(f"{queue}-{number}", NAMESPACE, queue) for number in range(jobs)))


def await_admitted(server: APIServer, **expected: int) -> None:
    def count() -> dict[str, int]:
        names = admitted(server, NAMESPACE)
        return {queue: sum(name.startswith(queue) for name in names) for queue in expected}

    wait_until(lambda: count() == expected, f"{expected} admitted", seconds=30, every=0.3)


def test_jobs_are_admitted_as_far_as_there_are_slots(
    server: APIServer, controller: Controller
) -> None:
    submit(server, "blue", 5)
    report(server, "fez", {"n1": (1, 0), "n2": (1, 0), "unknown": (2, 0)})
    await_quotas(server, qpu=1, other=1)
    await_admitted(server, blue=2)
    report(server, "fez", {"n1": (3, 0), "n2": (1, 0)})
    await_quotas(server, qpu=3, other=1)
    await_admitted(server, blue=4)
    # The QPU is lost while pods hold its slots: no Job is stopped, and no quota is left over.
    report(server, "fez", {"n1": (3, 3), "n2": (1, 1)}, ready=False)
    report(server, "fez", {"n1": (3, 0), "n2": (1, 0)}, ready=False)
    await_quotas(server, qpu=0, other=0)
    await_admitted(server, blue=4)


def test_a_moment_of_absence_changes_nothing(server: APIServer, controller: Controller) -> None:
    report(server, "fez", {"n1": (4, 0)})
    await_quotas(server, qpu=4, other=0)
    before = server.get("cohorts.kueue.x-k8s.io", "kubeqpu")["metadata"]["resourceVersion"]
    report(server, "fez", {"n1": (4, 0)}, ready=False)
    report(server, "fez", {"n1": (4, 0)})
    wait_until(lambda: controller.metric('writes_total{object="cohort"}') >= 1, "writes", seconds=5)
    assert server.get("cohorts.kueue.x-k8s.io", "kubeqpu")["metadata"]["resourceVersion"] == before


def test_teams_share_fairly_also_from_a_cohort_of_their_own(
    server: APIServer, controller: Controller
) -> None:
    report(server, "fez", {"n1": (4, 0)})
    await_quotas(server, qpu=4, other=0)
    submit(server, "blue", 4)
    await_admitted(server, blue=4)
    submit(server, "red", 4)
    await_admitted(server, blue=2, red=2)


def test_what_the_admin_owns_stays_as_it_was(server: APIServer, controller: Controller) -> None:
    def read() -> str:
        items = [
            without_status(one)
            for kinds in (QUEUES, "resourceflavors.kueue.x-k8s.io", "localqueues.kueue.x-k8s.io")
            for one in server.get(kinds, "--all-namespaces", "--show-managed-fields")["items"]
        ]
        cohort = server.get("cohorts.kueue.x-k8s.io", "company", "--show-managed-fields")
        return json.dumps([*items, without_status(cohort)], indent=1)

    before = read()
    shake(server, ("fez", "aer"), events=200, seed=8)
    report(server, "fez", {"n1": (2, 0)})
    report(server, "aer", {"n2": (3, 0), "n3": (1, 0)})
    await_quotas(server, qpu=3, other=3)
    assert read() == before
    assert controller.metric('writes_total{object="cohort"}') < 40


def test_someone_elses_cohort_of_our_name_is_left_alone(
    server: APIServer, controller: Controller
) -> None:
    cohort = server.get("cohorts.kueue.x-k8s.io", "kubeqpu")
    assert cohort["metadata"]["labels"] == {"kubeqpu.io/managed": "true"}
    server.kubectl("label", "cohorts.kueue.x-k8s.io", "kubeqpu", "kubeqpu.io/managed-")
    report(server, "fez", {"n1": (4, 0)})
    wait_until(lambda: controller.said("Quota not written"), "a warning", seconds=10)
    events = server.get("events.events.k8s.io", "--namespace=default")["items"]
    notes = [event["note"] for event in events if event["reason"] == "CohortTaken"]
    assert "label it kubeqpu.io/managed=true" in notes[0]
    assert quotas(server) == {"qpu": 0, "other": 0}
    server.kubectl("label", "cohorts.kueue.x-k8s.io", "kubeqpu", "kubeqpu.io/managed=true")
    await_quotas(server, qpu=4, other=0)


def test_the_cohort_goes_with_the_release(server: APIServer, controller: Controller) -> None:
    server.kubectl("delete", "cohorts.kueue.x-k8s.io", "kubeqpu")
    await_quotas(server, qpu=0, other=0)  # made again
    controller.end()
    server.kubectl("delete", "clusterrole", ACCOUNT)
    wait_until(
        lambda: (
            not [
                one
                for one in server.get("cohorts.kueue.x-k8s.io")["items"]
                if one["metadata"]["name"] == "kubeqpu"
            ]
        ),
        "the garbage collector",
        seconds=60,
    )
