"""The AdmissionCheck with the real Kueue: what it lets run, sends back and stops."""

import json
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from kubeqpu.common import api, names
from tests.cluster.shell import wait_until
from tests.e2e.api_server.controller import Controller, Gateway
from tests.e2e.api_server.queueing import QPU, make, make_job
from tests.e2e.api_server.server import APIServer
from tests.e2e.api_server.verdicts import (
    NAMESPACE,
    Object,
    activate,
    create_workloads,
    entries,
    is_active,
    is_true,
    make_check,
    make_checked_queue,
    workloads,
)
from tests.e2e.api_server.waiting import report
from tests.support.kueue_process import KueueProcess, kueue_process

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("definitions", "kueue")]

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "kueue"
QUEUES = ("quick", "strict", "shared")


@pytest.fixture(scope="module")
def kueue(server: APIServer) -> Iterator[KueueProcess]:
    """Kueue with a queue of our check, one of a class of its own, and one with another's check."""
    with kueue_process(server.cluster) as process:
        server.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
        server.apply(
            make("ResourceFlavor", "default", {}),
            make("ResourceFlavor", "qpu", {}),
            make_check("kubeqpu"),
            make_check("only-wide", class_name="wide"),
            make_check("foreign", "example.com/other"),
            *make_checked_queue("quick", "kubeqpu"),
            *make_checked_queue("strict", "only-wide"),
            *make_checked_queue("shared", "kubeqpu", "foreign"),
        )
        activate(server, "foreign")
        yield process
        server.kubectl("delete", "namespace", NAMESPACE, "--wait=false")


@pytest.fixture
def controller(server: APIServer, launch: Callable[[str], Controller]) -> Iterator[Controller]:
    with Gateway(server, "fez", api.QPUSpec(provider="fake")).alive():
        report(server, "fez", ready=True)
        started = launch("one")
        wait_until(lambda: is_active(server, "kubeqpu"), "the check to be active", seconds=30)
        yield started
    for kind in ("jobs", "pods", "workloads.kueue.x-k8s.io"):
        server.kubectl("delete", kind, "--all", f"--namespace={NAMESPACE}", "--wait=false")
    wait_until(lambda: not any(workloads(server, queue) for queue in QUEUES), "the end", seconds=60)
    server.kubectl("delete", "qpus,qpuclasses", "--all")


def make_pod(name: str, queue: str, **annotations: str) -> Object:
    container = {"name": "main", "image": "example", "resources": {"limits": {QPU: "1"}}}
    labels = {"kueue.x-k8s.io/queue-name": queue, names.LABEL_MANAGED: "true"}
    metadata = {"name": name, "namespace": NAMESPACE, "labels": labels, "annotations": {
        f"kubeqpu.io/{key.replace('_', '-')}": value for key, value in annotations.items()
    }}  # fmt: skip
    spec = {"containers": [container], "restartPolicy": "Never"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def await_entry(server: APIServer, queue: str, check: str, state: str, seconds: float) -> Object:
    def find() -> list[Object]:
        found = [entries(one).get(check, {"state": ""}) for one in workloads(server, queue)]
        return [one for one in found if one["state"] == state]

    wait_until(lambda: bool(find()), f"{check} to say {state}", seconds=seconds, every=0.1)
    return find()[0]


def test_a_job_runs_and_its_pods_know_why(server: APIServer, controller: Controller) -> None:
    server.apply(make_job("bell", NAMESPACE, "quick"))
    wait_until(
        lambda: not server.get("job", "bell", f"--namespace={NAMESPACE}")["spec"]["suspend"],
        "the Job to start", seconds=20,
    )  # fmt: skip
    found = server.get("job", "bell", f"--namespace={NAMESPACE}")
    template = found["spec"]["template"]["metadata"]
    expected = f"QPU fez with {QPU} fits class standard."
    assert template["annotations"][names.ANNOTATION_ADMISSION_REASON] == expected
    wait_until(
        lambda: bool(server.get("pods", f"--namespace={NAMESPACE}")["items"]),
        "its pod",
        seconds=20,
    )
    [pod] = server.get("pods", f"--namespace={NAMESPACE}")["items"]
    assert pod["metadata"]["annotations"][names.ANNOTATION_ADMISSION_REASON] == expected
    # The verdict stands while its pods run.
    report(server, "fez", ready=False)
    time.sleep(2)
    [workload] = workloads(server, "quick")
    assert is_true(workload, "Admitted")
    assert not is_true(workload, "Evicted")


def test_a_pod_that_makes_no_sense_is_stopped(server: APIServer, controller: Controller) -> None:
    server.apply(make_pod("odd", "quick", min_qubits="many"))
    wait_until(
        lambda: any(one["spec"]["active"] is False for one in workloads(server, "quick")),
        "it to be stopped", seconds=20,
    )  # fmt: skip
    [workload] = workloads(server, "quick")
    assert "'many' is no number of qubits" in json.dumps(workload["status"])


def test_a_queue_of_a_class_that_comes_later(server: APIServer, controller: Controller) -> None:
    found = server.get("admissionchecks.kueue.x-k8s.io", "only-wide")
    [active] = found["status"]["conditions"]
    assert (active["status"], active["reason"]) == ("False", "BadParametersRef")
    wide = {"apiVersion": "kubeqpu.io/v1alpha1", "kind": "QPUClass",
            "metadata": {"name": "wide"}, "spec": {"requirements": {"minQubits": 100}}}  # fmt: skip
    server.apply(wide)
    wait_until(lambda: is_active(server, "only-wide"), "the check", seconds=10)
    server.apply(make_pod("one", "strict"))
    found = await_entry(server, "strict", "only-wide", "Ready", 20)
    assert found["message"] == f"QPU fez with {QPU} fits classes standard and wide."


def test_none_of_500_is_stranded_by_controllers_that_die(
    server: APIServer, launch: Callable[[str], Controller], controller: Controller
) -> None:
    alive = controller
    submitting = threading.Thread(target=create_workloads, args=(server, "shared", 500, 100))
    submitting.start()
    for number in range(5):
        time.sleep(random.Random(number).uniform(0.5, 2.5))
        alive.end(signal.SIGKILL)
        alive = launch(f"next-{number}")
        wait_until(alive.leads, "another to lead", seconds=30, every=0.1)
    submitting.join()

    def count() -> int:
        found = workloads(server, "shared")
        return sum(entries(one).get("kubeqpu", {}).get("state") == "Ready" for one in found)

    wait_until(lambda: count() == 500, "all verdicts", seconds=60, every=1)
    assert {entries(one)["foreign"]["state"] for one in workloads(server, "shared")} == {"Pending"}


def test_accepts_the_example(server: APIServer) -> None:
    documents = list(yaml.safe_load_all((EXAMPLE / "queues.yaml").read_text()))
    server.apply(*documents, options=("--dry-run=server", "--force-conflicts"))
