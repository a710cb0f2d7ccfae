"""What crashes leave, the next ``up`` finishes and ``down`` removes."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time

import pytest

from tests.cluster import faults, processes, teardown
from tests.cluster.cluster import Cluster
from tests.cluster.layout import CHECKOUT
from tests.cluster.spec import ClusterSpec
from tests.cluster.tests.helpers import MakeCluster, bring_up, runs_pods

pytestmark = pytest.mark.timeout(600)
SPEC = ClusterSpec("test-recovery", nodes=1)


def crash_while_coming_up(seconds: float) -> None:
    """Kill ``up`` some time after it began."""
    command = [sys.executable, "-m", "tests.cluster", "up", "--nodes", "1", "--name", SPEC.name]
    with subprocess.Popen(command, cwd=CHECKOUT) as launcher:
        time.sleep(seconds)
        launcher.send_signal(signal.SIGKILL)


def assert_gone(cluster: Cluster, octet: int | None) -> None:
    """Assert that nothing of a cluster is left."""
    assert octet is not None
    assert teardown.leftovers(cluster.layout, octet) == []


def test_up_that_was_killed_half_way_is_finished_by_the_next(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(SPEC)
    for tenths in range(5, 50, 9):
        crash_while_coming_up(tenths / 10)
        bring_up(cluster, SPEC)
        runs_pods(cluster, "node-1")
        octet = cluster.state.octet
        cluster.down()
        assert_gone(cluster, octet)


def test_up_that_was_killed_half_way_is_removed_by_down(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(SPEC)
    for tenths in range(6, 46, 8):
        crash_while_coming_up(tenths / 10)
        octet = cluster.state.octet if cluster.layout.state.exists() else None
        cluster.down()
        if octet is not None:
            assert_gone(cluster, octet)


def test_down_removes_what_is_left_when_everything_was_killed(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(SPEC)
    bring_up(cluster, SPEC)
    runs_pods(cluster, "node-1")
    octet = cluster.state.octet
    for process in processes.running(cluster.layout):
        processes.send(process, signal.SIGKILL)
    cluster.down()
    assert_gone(cluster, octet)


def test_down_removes_a_frozen_node(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(SPEC)
    cluster.up(SPEC)
    octet = cluster.state.octet
    faults.freeze(cluster.node("node-1"))
    cluster.down()
    assert_gone(cluster, octet)


def test_down_works_without_a_readable_state(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(SPEC)
    cluster.up(SPEC)
    octet = cluster.state.octet
    cluster.layout.state.write_text("{")
    cluster.down()
    assert_gone(cluster, octet)


def test_down_works_after_the_build_folder_was_deleted(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(SPEC)
    cluster.up(SPEC)
    octet, ran = cluster.state.octet, processes.running(cluster.layout)
    shutil.rmtree(cluster.layout.root)
    cluster.down()
    assert_gone(cluster, octet)
    assert [one for one in ran if processes.start_ticks(one.pid) == one.start_ticks] == []


def test_two_clusters_with_nodes_run_side_by_side(make_cluster: MakeCluster) -> None:
    specs = [ClusterSpec("test-left", 1), ClusterSpec("test-right", 1)]
    left, right = [make_cluster(spec) for spec in specs]
    bring_up(left, specs[0])
    bring_up(right, specs[1])
    runs_pods(left, "node-1")
    runs_pods(right, "node-1")
    octets = left.state.octet, right.state.octet
    assert octets[0] != octets[1]
    left.down()
    assert_gone(left, octets[0])
    runs_pods(right, "node-1")


def test_a_cluster_grows_by_a_node(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(SPEC)
    cluster.up(SPEC)
    bring_up(cluster, ClusterSpec(SPEC.name, 2))
    runs_pods(cluster, "node-1")
    runs_pods(cluster, "node-2")
