"""The chart on a real cluster: installed, used by two tenants, disturbed, upgraded, removed.

The tests follow one release through its life and run in this order.
"""

import ast
import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from kubeqpu.common import api
from tests.cluster import faults
from tests.cluster.errors import ClusterError
from tests.cluster.shell import wait_until
from tests.e2e.release import ADDRESS, GATEWAY_POD, NAMESPACE, QPUS, Release, Tenant, released
from tests.e2e.testbed import ROOT, E2ECluster, apply, read

pytestmark = pytest.mark.timeout(600)

INSTALL_SECONDS = 60
EXAMPLE = ROOT / "examples" / "pod"
# What drives the fake QPU; Helm keeps all else.
DRIVEN = (
    "--reuse-values",
    "--set=gateways.default.qpus.fake-fez.options.control_file=/tmp/control.json",
    "--set=gateways.default.qpus.fake-fez.options.max_age_hours=2",
)
# Of what a release may leave nothing behind.
NAMESPACED = (
    "pods,services,statefulsets,deployments,secrets,serviceaccounts,leases,networkpolicies,"
    "persistentvolumeclaims,poddisruptionbudgets,roles,rolebindings,configmaps"
)


@pytest.fixture(scope="module")
def release(testbed: E2ECluster) -> Iterator[Release]:
    """The chart's images, and where to install them."""
    testbed.offer_volume()
    with released(testbed) as found:
        yield found


@pytest.fixture(scope="module")
def tenants(testbed: E2ECluster, release: Release) -> Iterator[tuple[Tenant, Tenant]]:
    """Two namespaces with a pod each; the first may use QPUs."""
    image = testbed.provide("cutting")
    names = ("e2e-physics", "e2e-chemistry")
    for name in names:
        apply(testbed, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    physics, chemistry = (Tenant(release, name, image) for name in names)
    physics.permit()
    yield physics, chemistry
    testbed.kubectl("delete", "namespace", *names, "--wait=false")


def test_one_install_gives_ready_qpus_within_a_minute(release: Release) -> None:
    seconds = release.install()
    assert seconds < INSTALL_SECONDS
    table = release.kubectl("get", "qpus")
    print(f"ready after {seconds:.1f} s\n{table}")
    header, *rows = table.splitlines()
    for column in ("READY", "QUBITS", "WAIT", "QUEUE", "2Q-ERROR", "CALIBRATED", "SLOTS"):
        assert column in header.split()
    assert {row.split()[0]: row.split()[1] for row in rows} == dict.fromkeys(QPUS, "True")
    fez = release.qpus()["fake-fez"]
    assert 0 < fez["status"]["calibration"]["medianTwoQubitError"] < 0.1
    assert fez["status"]["gateway"] == ADDRESS
    assert (fez["status"]["numQubits"], fez["status"]["summary"]["slots"]) == (20, "0/1")


def test_helm_test_succeeds(release: Release) -> None:
    release.testbed.helm("test", "kubeqpu", f"--namespace={NAMESPACE}")


def test_the_controller_makes_the_default_class(release: Release) -> None:
    wait_until(lambda: "standard" in release.kubectl("get", "qpuclasses"), "the class", seconds=20)


def test_a_pod_with_the_role_runs_circuits_and_another_may_not(
    tenants: tuple[Tenant, Tenant],
) -> None:
    physics, chemistry = tenants
    ids = []
    for qpu in QPUS:
        (name,) = physics.submit(qpu)
        ids.append(name)
    ((ideal,), (noisy,)) = physics.read(ids).values()
    assert set(ideal) == {"0", "3"}
    # Five standard deviations around one half.
    assert abs(ideal["0"] - 500) < 79
    assert sum(noisy.values()) == 1000
    assert 800 < noisy["0"] + noisy["3"] < 1000, "a noisy QPU errs sometimes, but not often"
    with pytest.raises(ClusterError, match=r"e2e-chemistry.*kubeqpu-user"):
        chemistry.submit("fake-fez")
    with pytest.raises(ClusterError, match="There is no job"):
        chemistry.read(ids)


def test_the_pod_of_the_example_runs_its_circuit(
    release: Release, testbed: E2ECluster, namespace: str
) -> None:
    testbed.kubectl("apply", f"--namespace={namespace}", f"--filename={EXAMPLE / 'access.yaml'}")
    counts = run_example(release, namespace, yaml.safe_load((EXAMPLE / "pod.yaml").read_text()))
    assert sum(counts.values()) == 1000
    assert counts["00"] + counts["11"] > 800


def test_a_pod_that_holds_a_slot_needs_no_role(release: Release, namespace: str) -> None:
    text = (EXAMPLE / "pod.yaml").read_text()
    # The slot says which QPU.
    pod = yaml.safe_load(text.replace('qpu="fake-fez"', ""))
    (container,) = pod["spec"]["containers"]
    container["resources"]["limits"] = {"kubeqpu.io/cpu-simulator": "1"}
    # So does it where the gateway is.
    container["env"] = []
    counts = run_example(release, namespace, pod)
    assert set(counts) == {"00", "11"}, "aer makes no errors"
    wait_until(
        lambda: release.qpus()["aer"]["status"]["summary"]["slots"] == "0/2",
        "the slot to be free again", seconds=30, every=0.5,
    )  # fmt: skip


def run_example(release: Release, namespace: str, pod: dict[str, Any]) -> dict[str, int]:
    """Runs the example's pod, changed or not, and returns the counts that it prints."""
    testbed, where = release.testbed, f"--namespace={namespace}"
    authority = base64.b64decode(release.authority()).decode()
    literal = f"--from-literal=ca.crt={authority}"
    testbed.kubectl("create", "configmap", "kubeqpu-ca", where, literal)
    (container,) = pod["spec"]["containers"]
    container["image"] = testbed.provide("cutting")
    testbed.kubectl("apply", where, "--filename=-", text=json.dumps(pod))
    wait_until(
        lambda: read(testbed, "pod", "bell", where)["status"].get("phase") == "Succeeded",
        "the pod to succeed", seconds=60, every=0.5,
    )  # fmt: skip
    counts: dict[str, int] = ast.literal_eval(testbed.kubectl("logs", "bell", where))
    return counts


def test_an_upgrade_loses_no_queued_job(release: Release, tenants: tuple[Tenant, Tenant]) -> None:
    physics, _ = tenants
    before = read(release.testbed, "pod", GATEWAY_POD, f"--namespace={NAMESPACE}")
    ids = physics.submit("aer", jobs=30, entries=200)
    release.helm("upgrade", *DRIVEN)

    def replaced() -> bool:
        try:
            pod = read(release.testbed, "pod", GATEWAY_POD, f"--namespace={NAMESPACE}")
        except ClusterError:
            return False
        return bool(pod["metadata"]["uid"] != before["metadata"]["uid"]) and release.all_ready()

    wait_until(replaced, "the gateway's new pod", seconds=120, every=0.5)
    found = physics.read(ids)
    shots = {name: [sum(row.values()) for row in rows] for name, rows in found.items()}
    assert shots == {name: [1000] * 200 for name in ids}


def test_an_outage_is_told_with_the_providers_reason(release: Release) -> None:
    release.drive_fake(outage="the cryostat is warming up")
    seconds = release.wait_for_condition("fake-fez", "Ready", "False", 15)
    found = release.condition("fake-fez", "Ready")
    print(f"outage seen after {seconds:.1f} s: {found}")
    assert "the cryostat is warming up" in found["message"]
    release.drive_fake()
    release.wait_for_condition("fake-fez", "Ready", "True", 15)
    assert release.condition("aer", "Ready")["status"] == "True"


def test_a_stale_calibration_is_told(release: Release) -> None:
    release.drive_fake(calibration={"age_hours": 5})
    release.wait_for_condition("fake-fez", "Calibrated", "False", 15)
    assert release.condition("fake-fez", "Ready")["status"] == "True"
    release.drive_fake(calibration={"age_hours": 1})
    release.wait_for_condition("fake-fez", "Calibrated", "True", 15)


def test_a_silent_gateway_is_noticed_and_heard_again(release: Release) -> None:
    if release.testbed.own is None:
        pytest.skip("freezes a node, which only the cluster of this repository can")
    pod = read(release.testbed, "pod", GATEWAY_POD, f"--namespace={NAMESPACE}")
    node = release.testbed.own.node(pod["spec"]["nodeName"])
    controller = read(
        release.testbed, "pods", f"--namespace={NAMESPACE}",
        "--selector=app.kubernetes.io/component=controller",
    )["items"][0]  # fmt: skip
    if controller["spec"]["nodeName"] == node.name:
        move_away(release, node.name)
    with faults.frozen(node):
        seconds = max(release.wait_for_condition(name, "Ready", "Unknown", 45) for name in QPUS)
        message = release.condition("aer", "Ready")["message"]
    print(f"silence noticed after {seconds:.1f} s: {message}")
    assert ADDRESS in message
    back = max(release.wait_for_condition(name, "Ready", "True", 5) for name in QPUS)
    print(f"heard again after {back:.1f} s")


def move_away(release: Release, node: str) -> None:
    """Moves the controller to another node, by a cordon."""
    release.kubectl("cordon", node)
    selector = "--selector=app.kubernetes.io/component=controller"
    release.kubectl("delete", "pod", selector, "--wait=true")
    release.kubectl("rollout", "status", "deployment/kubeqpu-controller", "--timeout=60s")
    release.kubectl("uncordon", node)


def test_a_killed_gateway_is_ready_within_five_seconds_of_its_return(release: Release) -> None:
    if release.testbed.own is None:
        pytest.skip("kills a process, which only the cluster of this repository can")
    killed = kill_gateway(release)
    wait_for_restart(release, killed)
    seconds = max(release.wait_for_condition(name, "Ready", "True", 5) for name in QPUS)
    print(f"ready {seconds:.1f} s after the container ran again")


def kill_gateway(release: Release) -> int:
    """Kills the gateway's container by its process; returns its restarts so far."""
    where = f"--namespace={NAMESPACE}"
    pod = read(release.testbed, "pod", GATEWAY_POD, where)
    status = pod["status"]["containerStatuses"][0]
    identifier = status["containerID"].removeprefix("containerd://")
    assert release.testbed.own is not None
    node = release.testbed.own.node(pod["spec"]["nodeName"])
    node.ctr("tasks", "kill", "--signal=SIGKILL", identifier)
    return int(status["restartCount"])


def wait_for_restart(release: Release, restarts: int) -> None:
    """Waits until the container runs again."""

    def running() -> bool:
        pod = read(release.testbed, "pod", GATEWAY_POD, f"--namespace={NAMESPACE}")
        status = pod["status"]["containerStatuses"][0]
        return status["restartCount"] > restarts and "running" in status["state"]

    wait_until(running, "the container to run again", seconds=60, every=0.1)


def test_uninstalling_leaves_nothing_but_the_definitions(release: Release) -> None:
    release.uninstall()

    def left() -> list[str]:
        found = release.kubectl("get", NAMESPACED, "--output=name").split()
        found += release.testbed.kubectl("get", "qpus", "--output=name").split()
        mine = "--selector=app.kubernetes.io/instance=kubeqpu"
        found += release.testbed.kubectl(
            "get", "clusterroles,clusterrolebindings", mine, "--output=name"
        ).split()
        ours = ("secret/sh.helm", "serviceaccount/default", "configmap/kube-root-ca.crt")
        return [name for name in found if not name.startswith(ours)]

    wait_until(lambda: not left(), "everything to be gone", seconds=60, every=0.5)
    for kind in api.OBJECTS:
        release.testbed.kubectl("get", "crd", kind.resource.name)
