"""Gates on a real API server, lifted by the controller with the chart's rights."""

import signal
import time
from collections.abc import Callable, Iterator

import pytest

from kubeqpu.common import api, names
from tests.cluster.shell import wait_until
from tests.e2e.api_server.asking import JOBSET_CRD
from tests.e2e.api_server.controller import Controller, Gateway
from tests.e2e.api_server.server import APIServer
from tests.e2e.api_server.waiting import (
    GATED_BY,
    LICENCE,
    create,
    gated_job,
    gated_pod,
    list_waiting,
    read_sample,
    report,
)

LAB = "--namespace=lab"
MANY = 500
KILLED = 200


@pytest.fixture(scope="module")
def lab(server: APIServer, definitions: None) -> Iterator[None]:
    metadata = {"name": "lab"}
    server.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
    server.kubectl("wait", "--for=create", "serviceaccount/default", LAB)
    server.apply(JOBSET_CRD)
    server.kubectl("wait", "--for=condition=Established", "crd/jobsets.jobset.x-k8s.io")
    yield
    server.kubectl("delete", "crd/jobsets.jobset.x-k8s.io", "namespace/lab", "--timeout=60s")


@pytest.fixture
def room(server: APIServer, lab: None) -> Iterator[APIServer]:
    # A QPU whose gateway is silent is not ready for long.
    with Gateway(server, "fez", api.QPUSpec(provider="fake")).alive():
        yield server
    server.kubectl("delete", "pods,jobs,jobsets,qpuquotas", "--all", LAB, "--grace-period=0",
                   "--force", "--wait=false")  # fmt: skip
    server.kubectl("delete", "qpus", "--all")
    wait_until(lambda: not list_waiting(server), "objects to go", seconds=60)


def said(server: APIServer, kind: str, name: str) -> str:
    annotations = server.get(kind, name, LAB)["metadata"].get("annotations", {})
    return str(annotations.get(names.ANNOTATION_WAITING_FOR, ""))


def await_note(server: APIServer, kind: str, name: str) -> None:
    wait_until(lambda: said(server, kind, name) != "", f"{kind} to be told", seconds=20)


def test_each_kind_is_told_what_it_waits_for_and_goes(
    room: APIServer, launch: Callable[[str], Controller]
) -> None:
    report(room, "fez", ready=False)
    create(room, gated_pod("p", LICENCE), gated_job("j", LICENCE), gated_job("s", kind="JobSet"))
    one = launch("one")
    kinds = {"pod": "p", "job": "j", "jobset": "s"}
    for kind, name in kinds.items():
        await_note(room, kind, name)
        assert said(room, kind, name).startswith("NotReady: None of 1 QPUs with kubeqpu.io/qpu")
    # An Event comes after the annotation, as `kubectl describe` shows both.
    wait_until(lambda: "NotReady" in events(room), "Events", seconds=5)
    assert names.ANNOTATION_WAITING_FOR in room.kubectl("describe", "pod", "p", LAB)
    assert read_sample(one, 'waiting{kind="JobSet",reason="NotReady"}') == 1
    report(room, "fez", ready=True)
    waiting = "pods,jobs,jobsets"
    wait_until(lambda: not list_waiting(room, waiting), "gates to be lifted", seconds=5)
    assert room.get("pod", "p", LAB)["spec"]["schedulingGates"] == [{"name": LICENCE}]
    annotations = room.get("job", "j", LAB)["metadata"]["annotations"]
    assert annotations[GATED_BY] == LICENCE
    assert GATED_BY not in room.get("jobset", "s", LAB)["metadata"].get("annotations", {})
    assert [said(room, kind, name) for kind, name in kinds.items()] == [""] * 3
    wait_until(lambda: events(room).count("GateLifted") == 3, "Events", seconds=5)
    assert one.metric('errors_total{loop="gates"}') == 0
    assert one.metric('errors_total{loop="notes"}') == 0


def events(server: APIServer) -> list[str]:
    found = server.get("events.events.k8s.io", LAB)["items"]
    return [item["reason"] for item in found if item["reportingController"].startswith("kubeqpu")]


def test_a_spent_budget_holds_its_namespace(
    room: APIServer, launch: Callable[[str], Controller]
) -> None:
    report(room, "fez", ready=True)
    head = {"apiVersion": api.API_VERSION, "kind": "QPUQuota",
            "metadata": {"name": "daily", "namespace": "lab"}}  # fmt: skip
    room.apply({**head, "spec": {"hard": {"jobs": 0}, "window": "24h"}})
    create(room, gated_pod("p"))
    launch("one")
    await_note(room, "pod", "p")
    assert said(room, "pod", "p").startswith(
        "BudgetSpent: QPUQuota daily is spent: 0 of 0 jobs used within 24h."
    )
    room.apply({**head, "spec": {"hard": {"jobs": 1}, "window": "24h"}})
    wait_until(lambda: not list_waiting(room), "the gate to be lifted", seconds=5)


@pytest.mark.slow
@pytest.mark.timed
def test_many_go_at_once_and_none_stays(
    room: APIServer, launch: Callable[[str], Controller]
) -> None:
    report(room, "fez", ready=False)
    create(room, *(gated_pod(f"p{number}") for number in range(MANY)))
    one = launch("one")
    told = 'waiting{kind="Pod",reason="NotReady"}'
    wait_until(lambda: read_sample(one, told) == MANY, "all to be seen", seconds=60)
    # What they wait for is told at a measured pace; that is still going on.
    report(room, "fez", ready=True)
    wait_until(lambda: not list_waiting(room), "gates to be lifted", seconds=30)
    # How many depends on how many writes the machine's API server takes; the first do not wait.
    assert read_sample(one, 'lift_seconds_bucket{le="1.0"}') >= MANY / 20


@pytest.mark.slow
def test_nothing_is_stranded_when_the_leader_is_killed_while_it_lifts(
    room: APIServer, launch: Callable[[str], Controller]
) -> None:
    report(room, "fez", ready=False)
    half = KILLED // 2
    create(room, *(gated_pod(f"p{number}", LICENCE) for number in range(half)),
           *(gated_job(f"j{number}", LICENCE) for number in range(half)))  # fmt: skip
    first = launch("first")
    wait_until(first.leads, "the first to lead", seconds=20)
    told = 'waiting{kind="Job",reason="NotReady"}'
    wait_until(lambda: read_sample(first, told) == half, "all to be seen", seconds=30)
    second = launch("second")
    wait_until(lambda: second.said("Controller started"), "the second to start", seconds=20)
    report(room, "fez", ready=True)
    wait_until(lambda: first.said("Gate lifted"), "lifts to begin", seconds=10, every=0.002)
    first.end(signal.SIGKILL)
    left = len(list_waiting(room))
    assert 0 < left < KILLED
    began = time.monotonic()
    wait_until(lambda: not list_waiting(room), "the second to lift", seconds=40)
    assert time.monotonic() - began < 30
    for found in room.get("pods,jobs", LAB)["items"]:
        annotations = found["metadata"].get("annotations", {})
        gates = [gate["name"] for gate in found["spec"].get("schedulingGates", [])]
        assert [*gates, *filter(None, [annotations.get(GATED_BY)])] == [LICENCE]
        assert names.ANNOTATION_WAITING_FOR not in annotations
    lifted = sum(read_sample(second, f'lifted_total{{kind="{kind}"}}') for kind in ("Pod", "Job"))
    # A write may land after its writer was killed.
    assert 0 < lifted <= left
