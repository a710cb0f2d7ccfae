"""The chart's scheduler on a real cluster of three nodes, each with slots of a QPU of its own."""

import random
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from kubeqpu.common import api
from kubeqpu.common.names import SCHEDULER
from tests.cluster.shell import wait_until
from tests.e2e.placing import (
    FEZ,
    HOLD,
    MARRAKESH,
    NODE_OF,
    SLOTS,
    TORINO,
    VALUES,
    Placing,
    Seen,
    decided_at,
    is_explained,
    make_state,
    placement_of,
    quality_of,
    refusal_of,
    share_of,
    uid_of,
    watched,
)
from tests.e2e.random_faults import kill_container, status_of
from tests.e2e.release import NAMESPACE, released
from tests.e2e.scheduler_faults import (
    EXTENDER,
    SchedulerFaults,
    find_leader,
)
from tests.e2e.scheduler_faults import SCHEDULER as KUBE_SCHEDULER
from tests.e2e.slot_churn import find_shared, make_light, proxied, read_ended
from tests.e2e.slots import QPU, Slots
from tests.e2e.testbed import OwnCluster, apply, read

pytestmark = pytest.mark.timeout(600)

SEED = 20261123
AVOIDED_SECONDS = 1.0
WOKEN_SECONDS = 2.0
PRIORITY = {
    "apiVersion": "scheduling.k8s.io/v1",
    "kind": "PriorityClass",
    "metadata": {"name": "urgent"},
    "value": 1000,
}


@pytest.fixture(scope="module")
def placing(testbed: OwnCluster) -> Iterator[Placing]:
    """A release with six slots of a fake QPU on each node."""
    cluster = testbed.own
    if cluster is None:
        pytest.skip("needs a third node and kills, which only the cluster of this repository has")
    cluster.load("busybox")
    testbed.offer_volume()
    with released(testbed) as release:
        release.install(*VALUES)
        slots = Slots(release, cluster, cluster.images.busybox().reference)
        with testbed.one_more_node("deviceplugin") as node, proxied(slots) as url:
            node.load(cluster.images.busybox())
            made = Placing(slots, url)
            wait_until(
                lambda: all(share_of(qpu) == (SLOTS, 0) for qpu in made.qpus().values()),
                "all nodes to have slots", seconds=60,
            )  # fmt: skip
            apply(testbed, PRIORITY)
            for name, weights in (
                ("hasty", {"wait": 1, "fidelity": 0}),
                ("even", {"wait": 1, "fidelity": 4}),
                ("careful", {"wait": 0, "fidelity": 1}),
            ):
                made.make_class(name, weights={**weights, "freshness": 0, "utilisation": 0})
            made.make_class("impossible", requirements={"minQubits": 1000})
            made.make_class("patient", requirements={"maxEstimatedWait": "100s"})
            yield made
            testbed.kubectl("delete", "priorityclass", "urgent")


def test_placements_follow_the_weights_of_the_class(placing: Placing, namespace: str) -> None:
    placing.settle(
        {FEZ: make_state(errors=10), TORINO: make_state(1800), MARRAKESH: make_state(60, errors=3)}
    )
    wanted = {"hasty": FEZ, "even": MARRAKESH, "careful": TORINO}
    for name in wanted:
        placing.create(namespace, *(f"{name}-{number}" for number in range(4)), class_name=name)
    for name, pod in placing.wait_for_placements(namespace, 20).items():
        qpu = wanted[name.partition("-")[0]]
        assert pod["spec"]["nodeName"] == NODE_OF[qpu], placement_of(pod)
        told = placement_of(pod)
        assert (told["qpu"], told["node"], told["considered"]) == (qpu, NODE_OF[qpu], 3)
        assert told["runnerUp"]["score"] < told["score"]
    # What a person reads.
    wait_until(
        lambda: f"QPU {FEZ} on node node-1 scored" in placing.slots.testbed.kubectl(
            "describe", "pod", "hasty-0", f"--namespace={namespace}"
        ),
        "the Event", seconds=10,
    )  # fmt: skip
    wait_until(
        lambda: all(
            pod["status"]["phase"] == "Succeeded" for pod in placing.pods(namespace).values()
        ),
        "the pods to run", seconds=60,
    )  # fmt: skip


@pytest.mark.parametrize(
    "worse",
    [make_state(errors=40), make_state(outage="the cryostat is warming up")],
    ids=["errors", "outage"],
)
def test_a_worse_qpu_is_avoided(placing: Placing, namespace: str, worse: dict[str, object]) -> None:
    placing.settle({FEZ: make_state(), TORINO: make_state(45), MARRAKESH: make_state(45)})
    before = quality_of(placing.qpus()[FEZ])
    path = f"/apis/{api.API_VERSION}/qpus"

    def first_worse(seen: Sequence[Seen]) -> float:
        told = (one for one in seen if one.object["metadata"]["name"] == FEZ)
        return next(
            (one.at for one in told if quality_of(api.QPU.from_manifest(one.object)) != before), 0.0
        )

    with watched(placing.url, path) as seen, ThreadPoolExecutor(1) as pool:
        number = 0

        def create(seconds: float) -> None:
            nonlocal number
            ends_at = time.monotonic() + seconds
            while time.monotonic() < ends_at:
                placing.create(namespace, f"pod-{number}")
                number += 1
                time.sleep(0.25)

        create(2)
        driven = pool.submit(placing.drive, {FEZ: worse})
        while not first_worse(seen):
            create(0.25)
            assert number < 100, "the QPU did not get worse"
        driven.result()
        create(2.5)
        changed_at = first_worse(seen)
        pods = placing.wait_for_placements(namespace, 20).values()
    by_fez = sorted(decided_at(pod) for pod in pods if placement_of(pod)["qpu"] == FEZ)
    after = [pod for pod in pods if decided_at(pod) > changed_at]
    last = by_fez[-1] - changed_at
    print(f"{len(by_fez)} of {len(pods)} pods were placed there, the last {last:+.3f} s after")
    assert len([at for at in by_fez if at < changed_at]) >= 4
    assert len(after) >= 6
    assert last < AVOIDED_SECONDS


def test_a_pod_that_fits_nowhere_is_told_so_once(placing: Placing, namespace: str) -> None:
    placing.settle({name: make_state() for name in NODE_OF})
    names = [f"pod-{number}" for number in range(4)]
    placing.create(namespace, *names, class_name="impossible")
    # QPUs change meanwhile, and none gets wide enough.
    for wait in (10, 300, 0, 600):
        placing.drive({name: make_state(wait) for name in NODE_OF})
        time.sleep(2)
    told = {refusal_of(pod) for pod in placing.pods(namespace).values()}
    counts = placing.count_events(namespace, "FailedScheduling")
    print(f"{counts}; {told}")
    (sentence,) = told
    assert sentence.startswith("0/3 nodes are available: ")
    assert f"QPU {FEZ}: 5 qubits below the 1000 needed (class impossible)" in sentence
    assert len(sentence) < 600
    # Once more at most: nodes may have had news of their own.
    assert set(counts) == set(names)
    assert max(counts.values()) <= 2


def test_refused_pods_go_on_when_a_qpu_gets_better(placing: Placing, namespace: str) -> None:
    placing.settle({name: make_state(600) for name in NODE_OF})
    placing.create(namespace, *(f"pod-{number}" for number in range(5)), class_name="patient")
    wait_until(
        lambda: all("600 s above 100 s" in refusal_of(pod)
                    for pod in placing.pods(namespace).values()),
        "all to be refused", seconds=10,
    )  # fmt: skip
    with watched(placing.url, f"/apis/{api.API_VERSION}/qpus") as qpus:
        placing.drive({TORINO: make_state(0)})
        pods = placing.wait_for_placements(namespace, 20).values()
    better_at = next(
        one.at
        for one in qpus
        if one.object["metadata"]["name"] == TORINO
        and one.object["status"]["queue"]["estimatedWaitSeconds"] == 0
    )
    seconds = max(decided_at(pod) for pod in pods) - better_at
    print(f"refused pods were placed {seconds:.2f} s after the QPU was better")
    assert {placement_of(pod)["qpu"] for pod in pods} == {TORINO}
    assert seconds < WOKEN_SECONDS


def test_nothing_gives_way_to_a_pod_that_could_not_run(placing: Placing, namespace: str) -> None:
    placing.settle({name: make_state() for name in NODE_OF})
    total = SLOTS * len(NODE_OF)
    placing.create(namespace, *(f"held-{number}" for number in range(total)), script=HOLD)
    held = placing.wait_for_nodes(namespace, 30)
    urgent = {"priorityClassName": "urgent"}
    placing.create(namespace, "refused", class_name="impossible", **urgent)
    wait_until(lambda: bool(refusal_of(placing.pods(namespace)["refused"])), "words", seconds=10)
    time.sleep(3)
    found = placing.pods(namespace)
    assert "nodeName" not in found.pop("refused")["spec"]
    assert {uid_of(pod) for pod in found.values()} == {uid_of(pod) for pod in held.values()}
    assert not [pod for pod in found.values() if "deletionTimestamp" in pod["metadata"]]
    assert not placing.count_events(namespace, "Preempted")
    # Not for want of priority: one gives way to a pod that can run.
    placing.create(namespace, "placed", script=HOLD, **urgent)
    wait_until(
        lambda: "nodeName" in placing.pods(namespace)["placed"]["spec"], "the pod", seconds=30
    )
    assert sum(placing.count_events(namespace, "Preempted").values()) == 1
    flags = (f"--namespace={namespace}", "--force", "--grace-period=0")
    placing.slots.testbed.kubectl("delete", "pods", "--all", *flags)


def test_without_the_extender_pods_wait_and_others_do_not(placing: Placing, namespace: str) -> None:
    placing.settle({name: make_state() for name in NODE_OF})
    leader = find_leader(placing)
    name, where = leader["metadata"]["name"], f"--namespace={NAMESPACE}"
    restarts = status_of(leader, EXTENDER)["restartCount"]
    killed_at = time.time()
    assert kill_container(placing.slots, leader, EXTENDER)
    placing.create(namespace, "waits")
    placing.create(
        namespace, "other", schedulerName="default-scheduler",
        containers=[{"name": "main", "image": placing.slots.busybox, "command": ["true"],
                     "imagePullPolicy": "IfNotPresent"}],
    )  # fmt: skip
    wait_until(
        lambda: "nodeName" in placing.pods(namespace)["other"]["spec"], "the other", seconds=3
    )
    (other, waits) = (placing.pods(namespace)[key] for key in ("other", "waits"))
    assert "nodeName" not in waits["spec"], "no extender, and yet a node"
    wait_until(lambda: is_explained(placing.pods(namespace)["waits"]), "the pod", seconds=40)
    bound_after = decided_at(placing.pods(namespace)["waits"]) - killed_at
    again = status_of(read(placing.slots.testbed, "pod", name, where), EXTENDER)
    print(f"placed {bound_after:.1f} s after the extender was killed; {other['spec']['nodeName']}")
    assert again["restartCount"] == restarts + 1
    assert bound_after < 25


@pytest.mark.parametrize(
    ("pods", "kill_seconds"), [(60, 15), pytest.param(500, 240, marks=pytest.mark.slow)]
)
def test_no_slot_is_given_twice_while_extender_and_scheduler_are_killed(
    placing: Placing, namespace: str, pods: int, kill_seconds: float
) -> None:
    placing.settle({name: make_state() for name in NODE_OF})
    job = make_light(placing.slots, namespace, "light", QPU, pods, pods)
    job["spec"]["template"]["spec"]["schedulerName"] = SCHEDULER
    killer = SchedulerFaults(placing, random.Random(SEED), kill_seconds)
    began = time.monotonic()
    with watched(placing.url, f"/api/v1/namespaces/{namespace}/pods") as seen:
        killer.start()
        try:
            apply(placing.slots.testbed, job)
            placing.slots.testbed.kubectl(
                f"--namespace={namespace}", "wait", "job/light", "--for=condition=Complete",
                "--timeout=500s", seconds=510,
            )  # fmt: skip
        finally:
            killer.stop()
    seconds = time.monotonic() - began
    ended = read_ended(placing.slots, namespace)
    print(
        f"{len(ended.told)} pods in {seconds:.0f} s, killed {dict(killer.counts)}, seed {SEED}, "
        f"rejected {dict(ended.rejected)}"
    )
    assert (ended.failed, len(ended.told), sum(ended.rejected.values())) == ([], pods, 0)
    assert find_shared(ended.told) == []
    nodes = {
        (uid_of(one.object), node) for one in seen if (node := one.object["spec"].get("nodeName"))
    }
    assert len(nodes) == len(dict(nodes)) == pods
    placing.wait_for_placements(namespace, 60)
    assert max(placing.count_events(namespace, "Placed").values()) == 1
    assert {node for _, node in nodes} == set(NODE_OF.values())
    assert killer.counts[EXTENDER] >= 1
    assert killer.counts[KUBE_SCHEDULER] >= 1
