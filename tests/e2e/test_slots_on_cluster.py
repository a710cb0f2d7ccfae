"""Slots on a real cluster: given to pods, killed around, lost with a node, and never doubled.

The tests follow one release through its life and run in this order.
"""

import random
import time
from collections.abc import Iterator

import grpc
import pytest

from tests.cluster import faults
from tests.cluster.shell import wait_until
from tests.e2e.release import released
from tests.e2e.slot_churn import (
    CIRCUIT_PODS,
    PODS,
    find_shared,
    make_churn,
    make_light,
    read_ended,
    watching,
)
from tests.e2e.slot_faults import SlotFaults
from tests.e2e.slots import (
    CAPACITY,
    CPU,
    DENIED,
    OTHER,
    PLUGIN,
    QPU,
    SLOTS,
    STATEFUL_SET,
    VALUES,
    Caller,
    Holder,
    Slots,
    timed,
)
from tests.e2e.testbed import E2ECluster, apply, move_addons, read

pytestmark = pytest.mark.timeout(600)

SEED = 20261123
KILL_SECONDS = 150
OUTAGE_SECONDS = 15
GRACE_SECONDS = 30
# Longer than it takes until the node is NotReady: until then its slots count.
RETURN_SECONDS = 30
# Until a gateway hears nothing from a node, its slots have returned, and a kubelet has told.
RETURNED_SECONDS = 30 + RETURN_SECONDS + 10


@pytest.fixture(scope="module")
def slots(testbed: E2ECluster) -> Iterator[Slots]:
    """A release with twelve slots of two QPUs on both nodes, and four on the gateway's."""
    cluster = testbed.own
    if cluster is None:
        pytest.skip("kills kubelets and nodes, which only the cluster of this repository can")
    cluster.load("busybox")
    testbed.offer_volume()
    with released(testbed) as release:
        release.install(*VALUES)
        made = Slots(release, cluster, cluster.images.busybox().reference)
        made.wait_until_free()
        yield made


@pytest.fixture(scope="module")
def caller(slots: Slots) -> Caller:
    return Caller(slots.release)


def test_slots_are_divided_over_nodes(slots: Slots) -> None:
    for qpu in ("fake-fez", "fake-torino"):
        assert slots.shares(qpu) == {"node-1": (3, 0), "node-2": (3, 0)}
    assert list(slots.shares("aer").values()) == [(4, 0)]


def test_200_pods_get_slots_while_everything_is_killed(slots: Slots, namespace: str) -> None:
    testbed, where = slots.testbed, f"--namespace={namespace}"
    jobs = make_churn(slots, namespace)
    began = time.monotonic()
    killer = SlotFaults(slots, random.Random(SEED), KILL_SECONDS)
    with watching(slots) as seen:
        killer.start()
        try:
            apply(testbed, *jobs)
            wait_until(
                lambda: all(
                    job["status"].get("succeeded", 0) == job["spec"]["completions"]
                    for job in read(testbed, "jobs", where)["items"]
                ),
                "all pods to succeed", seconds=400, every=1,
                still_alive=lambda: repr(killer.error) if killer.error else None,
            )  # fmt: skip
        finally:
            killer.stop()
        seconds = time.monotonic() - began
        free = slots.wait_until_free(120)
    ended = read_ended(slots, namespace)
    print(
        f"{len(ended.told)} pods in {seconds:.0f} s, all slots free {free:.1f} s later; "
        f"seed {SEED}, killed {dict(killer.counts)}, rejected {dict(ended.rejected)}; {seen}"
    )
    assert ended.failed == []
    # A Job may start a pod more than it has to, when it loses sight of one.
    assert 200 == PODS <= len(ended.told) <= PODS + 5
    assert find_shared(ended.told) == []
    ran = [pod for pod in ended.told if "refused" in pod]
    assert len(ran) >= CIRCUIT_PODS
    for pod in ran:
        assert set(pod["ran_on"]) == {pod["qpu"]}
        assert pod["shots"] == 100
        assert pod["refused"], f"a pod with a slot of {pod['qpu']} used {OTHER[pod['qpu']]}"
    for pod in ended.told:
        qpu, _, number = pod["slot"].rpartition("-")
        assert (qpu, int(number) < SLOTS[qpu]) == (pod["qpu"], True)
    # Each kind of process was killed, and so many looks mean something.
    assert min(killer.counts[name] for name in ("kubelet", "device plugin", "gateway")) >= 2
    assert seen.samples > seconds
    assert seen.most == CAPACITY


def test_a_right_begins_and_ends_with_the_pod(slots: Slots, caller: Caller, namespace: str) -> None:
    holder, other = Holder(slots, namespace, "holder"), Holder(slots, namespace, "other", "")
    holder.start()
    token = holder.token()
    assert caller.may_use(token, holder.qpu)
    assert not caller.may_use(token, OTHER[holder.qpu])
    other.start()
    assert not caller.may_use(other.token(), holder.qpu)
    holder.end()
    seconds = timed(lambda: not caller.may_use(token, holder.qpu), "a refusal", 10)
    print(f"a finished pod's token was refused {seconds:.1f} s after it was known to have ended")
    assert seconds < 5
    slots.wait_until_free()


def test_nobody_reports_but_a_device_plugin_for_its_own_node(
    slots: Slots, caller: Caller, namespace: str
) -> None:
    holder = Holder(slots, namespace, "holder")
    holder.start("node-1")
    plugin = slots.token(PLUGIN, slots.plugin_pod("node-1"))
    for token, node in ((holder.token(), "node-1"), (plugin, "node-2")):
        with pytest.raises(grpc.RpcError) as refused:
            caller.sync(token, node, {holder.slot: "forged"})
        print(f"refused: {refused.value.details()}")
        assert refused.value.code() is DENIED
    # Who may, is heard: what is refused above is not the form of the report.
    answer = caller.sync(plugin, "node-1", {holder.slot: "forged"})
    assert holder.slot in {slot.id for slot in answer.slots}
    wait_until(
        lambda: caller.may_use(holder.token(), holder.qpu), "the true report", seconds=20, every=0.5
    )
    holder.delete()
    slots.wait_until_free()


def test_an_outage_turns_slots_unhealthy_and_a_long_queue_does_not(
    slots: Slots, caller: Caller, namespace: str
) -> None:
    holder = Holder(slots, namespace, "holder")
    holder.start()
    qpu = holder.qpu
    slots.drive(qpu, queue={"pending": 5000, "service_seconds": 60}, delay_seconds=5.0)
    token = holder.token()
    for _ in range(20):
        caller.submit(token, qpu, entries=20)
    timed(
        lambda: read(slots.testbed, "qpu", qpu)["status"]["queue"]["providerPending"] == 5000,
        "the queue to be told", 15,
    )  # fmt: skip
    most_waiting = 0
    for _ in range(12):
        assert slots.allocatable() == CAPACITY
        queue = read(slots.testbed, "qpu", qpu)["status"]["queue"]
        most_waiting = max(most_waiting, queue["gatewayPending"])
        time.sleep(1)
    assert most_waiting > 0
    slots.drive(qpu, outage="the cryostat is warming up")
    left = {**CAPACITY, QPU: CAPACITY[QPU] - SLOTS[qpu]}
    gone = timed(lambda: slots.allocatable() == left, "its slots to be unhealthy", 30)
    assert holder.is_undisturbed()
    slots.drive(qpu)
    healed = timed(lambda: slots.allocatable() == CAPACITY, "its slots to heal", 30)
    print(f"{most_waiting} circuits waited, and no slot changed")
    print(f"outage: slots unhealthy after {gone:.1f} s, healed after {healed:.1f} s")
    assert max(gone, healed) < OUTAGE_SECONDS
    assert holder.is_undisturbed()
    holder.end()
    slots.wait_until_free()


def test_a_gateway_that_is_gone_costs_free_slots_only(
    slots: Slots, caller: Caller, namespace: str
) -> None:
    holder = Holder(slots, namespace, "holder")
    holder.start()
    token = holder.token()
    scale = ("scale", f"statefulset/{STATEFUL_SET}")
    node = holder.read()["spec"]["nodeName"]
    held = {QPU: 1, CPU: 0}
    slots.release.kubectl(*scale, "--replicas=0")
    try:
        began = time.monotonic()
        while time.monotonic() - began < GRACE_SECONDS - 10:
            assert slots.allocatable() == CAPACITY
            time.sleep(1)
        faults.restart_kubelet(slots.cluster.node(node))
        wait_until(lambda: slots.allocatable() == held, "free slots to go", seconds=40, every=0.25)
        gone = time.monotonic() - began
        assert slots.allocatable(node) == held
        assert holder.is_undisturbed()
    finally:
        slots.release.kubectl(*scale, "--replicas=1")
    healed = timed(lambda: slots.allocatable() == CAPACITY, "slots to heal", 60)
    print(f"gateway gone: free slots unhealthy after {gone:.1f} s, healed after {healed:.1f} s")
    # Its end takes some seconds, and kubelets tell of it later.
    assert GRACE_SECONDS <= gone < GRACE_SECONDS + 15
    assert caller.may_use(token, holder.qpu)
    assert holder.is_undisturbed()
    holder.end()
    slots.wait_until_free()


def test_a_rolling_update_loses_no_slot(slots: Slots, namespace: str) -> None:
    holder = Holder(slots, namespace, "holder")
    holder.start()
    before = {slots.plugin_pod(node)["metadata"]["uid"] for node in ("node-1", "node-2")}
    job = make_light(slots, namespace, "light", QPU, 40, 8)
    with watching(slots) as seen:
        apply(slots.testbed, job)
        began = time.monotonic()
        daemon_set = (f"--namespace={PLUGIN}", "rollout")
        slots.testbed.kubectl(*daemon_set, "restart", f"daemonset/{PLUGIN}")
        slots.testbed.kubectl(*daemon_set, "status", f"daemonset/{PLUGIN}", "--timeout=90s")
        seconds = time.monotonic() - began
        slots.testbed.kubectl(
            f"--namespace={namespace}", "wait", "job/light", "--for=condition=Complete",
            "--timeout=120s",
        )  # fmt: skip
    after = {slots.plugin_pod(node)["metadata"]["uid"] for node in ("node-1", "node-2")}
    ended = read_ended(slots, namespace)
    print(f"rolled out in {seconds:.1f} s, rejected {dict(ended.rejected)}; {seen}")
    assert not before & after
    assert seen.least == seen.most == CAPACITY
    assert (ended.failed, len(ended.told)) == ([], 40)
    # When the old one ends, the kubelet drops the new one, too, until that registers again.
    assert sum(ended.rejected.values()) <= 4
    assert holder.is_undisturbed()
    holder.end()
    slots.wait_until_free()


def test_a_dead_node_s_slots_come_back_elsewhere(
    slots: Slots, caller: Caller, namespace: str
) -> None:
    short = f"--set=gateways.default.config.cluster.slot_return_seconds={RETURN_SECONDS}"
    slots.release.helm("upgrade", "--reuse-values", short)
    slots.release.kubectl("rollout", "status", f"statefulset/{STATEFUL_SET}", "--timeout=90s")
    slots.wait_until_free()
    (own,) = slots.shares("aer")
    dead = {"node-1": "node-2", "node-2": "node-1"}[own]
    holder = Holder(slots, namespace, "holder")
    holder.start(dead)
    token = holder.token()
    assert caller.may_use(token, holder.qpu)
    move_addons(slots.testbed, dead)
    node = slots.cluster.node(dead)
    with watching(slots) as seen:
        faults.crash(node)
        back = timed(lambda: slots.allocatable(own) == CAPACITY, "its slots elsewhere", 120)
        assert back < RETURNED_SECONDS
        shares = {qpu: slots.shares(qpu) for qpu in SLOTS}
        assert shares == {qpu: {own: (count, 0)} for qpu, count in SLOTS.items()}
        assert not caller.may_use(token, holder.qpu)
        successor = Holder(slots, namespace, "successor")
        successor.start(own)
        assert caller.may_use(successor.token(), successor.qpu)
        slots.cluster.start_node(node)
        faults.wait_for_readiness(slots.cluster, node, ready=True)
        plugin = f"pod/{slots.plugin_pod(dead)['metadata']['name']}"
        slots.testbed.kubectl(
            f"--namespace={PLUGIN}", "wait", "--for=condition=Ready", plugin, "--timeout=90s"
        )
        for _ in range(10):
            assert not caller.may_use(token, holder.qpu)
            time.sleep(0.5)
        assert slots.allocatable() == slots.allocatable(own) == CAPACITY
    print(f"a dead node's slots were on another {back:.1f} s after its end; {seen}")
    assert successor.is_undisturbed()
    for pod in (holder, successor):
        pod.delete()
    slots.wait_until_free()
