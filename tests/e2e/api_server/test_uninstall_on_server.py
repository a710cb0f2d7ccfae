"""What an uninstall takes off nodes and off what waits, on a real API server with its controller.

There is no node that runs the Job's pod: the test runs its command with its rights, and says how
the pod ended.
"""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from kubeqpu.common import names
from tests.cluster.errors import ClusterError
from tests.cluster.shell import wait_until
from tests.e2e.api_server.controller import ACCOUNT, NAMESPACE, Controller, make_kubeconfig, start
from tests.e2e.api_server.labels import FEZ, OWN, labels, put_node, put_qpu, report_slots
from tests.e2e.api_server.server import APIServer
from tests.e2e.api_server.waiting import LICENCE, create, gated_job, gated_pod, list_waiting
from tools import chart

CLEANUP = "kubeqpu-cleanup"
IN, LAB = f"--namespace={NAMESPACE}", "--namespace=lab"
HOOK_KINDS = "serviceaccounts,roles,rolebindings,jobs,pods"


@pytest.fixture
def release(server: APIServer) -> Iterator[APIServer]:
    server.make_namespace(NAMESPACE)
    server.helm("install", "kubeqpu", str(chart.CHART), IN, "--set=devicePlugin.enabled=false")
    put_node(server, "a")
    yield server
    server.remove_release()
    server.kubectl("delete", "nodes", "--all")


def begin_uninstall(server: APIServer, pool: ThreadPoolExecutor) -> tuple["Future[str]", str]:
    """Begins to uninstall; gives what it will say, and the name of the Job's pod."""
    said = pool.submit(server.helm, "uninstall", "kubeqpu", IN, hooks=True)

    def find() -> list[str]:
        selector = f"--selector=job-name={CLEANUP}"
        return server.kubectl("get", "pods", selector, IN, "--output=name").split()

    wait_until(lambda: bool(find()), "the Job's pod", seconds=30)
    return said, find()[0]


def waits_for(server: APIServer, name: str) -> str:
    annotations = server.get(name, LAB)["metadata"].get("annotations", {})
    return str(annotations.get(names.ANNOTATION_WAITING_FOR, ""))


def left(server: APIServer) -> list[str]:
    found = server.kubectl("get", HOOK_KINDS, IN, "--output=name").split()
    found += server.kubectl("get", "clusterroles,clusterrolebindings", "--output=name").split()
    return [name for name in found if CLEANUP in name]


@pytest.fixture
def lab(server: APIServer) -> Iterator[str]:
    server.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "lab"}})
    server.kubectl("wait", "--for=create", "serviceaccount/default", LAB)
    yield "lab"
    server.kubectl("delete", "pods", "--all", LAB, "--grace-period=0", "--force")
    server.kubectl("delete", "namespace/lab", "--timeout=60s")


def test_labels_and_gates_go_for_good_while_the_controller_still_runs(
    release: APIServer, lab: str, tmp_path: Path, launch_as: Callable[[str, str], Controller]
) -> None:
    one = launch_as("one", make_kubeconfig(release, ACCOUNT))
    put_qpu(release, "fez", a=1)
    wait_until(lambda: labels(release, "a") == OWN | FEZ, "labels", seconds=20)
    create(release, gated_pod("p", LICENCE), gated_job("j"))
    wait_until(lambda: "NotReady" in waits_for(release, "pod/p"), "a note", seconds=20)
    with ThreadPoolExecutor(1) as pool:
        said, pod = begin_uninstall(release, pool)
        assert len(list_waiting(release)) == 2
        account = release.get(pod, IN)["spec"]["serviceAccountName"]
        cleanup = start("cleanup", make_kubeconfig(release, account), tmp_path / "cleanup.log")
        assert cleanup.wait(timeout=60) == 0, (tmp_path / "cleanup.log").read_text()
        assert labels(release, "a") == OWN
        assert list_waiting(release) == []
        assert release.get("pod/p", LAB)["spec"]["schedulingGates"] == [{"name": LICENCE}]
        assert waits_for(release, "pod/p") == waits_for(release, "job/j") == ""
        # Whatever the controller still sees, it writes nothing.
        report_slots(release, "fez", a=3)
        put_qpu(release, "other", a=1)
        time.sleep(5)
        assert labels(release, "a") == OWN
        assert not one.leads()
        assert not said.done()
        release.kubectl("patch", pod, IN, "--subresource=status", "--type=merge",
                        '--patch={"status":{"phase":"Succeeded"}}')  # fmt: skip
        assert "uninstalled" in said.result(timeout=60)
    wait_until(lambda: not left(release), "the hook to be gone", seconds=20)
    assert labels(release, "a") == OWN


def test_a_cleanup_that_cannot_run_ends_the_uninstall_and_leaves_nothing(
    release: APIServer,
) -> None:
    with ThreadPoolExecutor(1) as pool:
        said, _ = begin_uninstall(release, pool)
        # What would take minutes otherwise.
        release.kubectl("patch", "job", CLEANUP, IN, "--type=merge",
                        '--patch={"spec":{"activeDeadlineSeconds":2}}')  # fmt: skip
        with pytest.raises(ClusterError, match="DeadlineExceeded"):
            said.result(timeout=60)
    wait_until(lambda: not left(release), "the hook to be gone", seconds=20)
    assert "uninstalling" in release.helm("status", "kubeqpu", IN)
    # Whoever does not need it, says so.
    release.helm("uninstall", "kubeqpu", IN, "--no-hooks")
