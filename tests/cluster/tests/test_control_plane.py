"""A control plane alone: quick, unprivileged, mended by ``up``, gone without trace."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

from tests.cluster import faults, processes
from tests.cluster.addons import postgresql, prometheus
from tests.cluster.cluster import Cluster
from tests.cluster.controlplane import PROCESSES
from tests.cluster.errors import ClusterError
from tests.cluster.layout import CHECKOUT
from tests.cluster.spec import Addon, ClusterSpec
from tests.cluster.tests.helpers import MakeCluster

pytestmark = pytest.mark.timeout(600)
SPEC = ClusterSpec("test-control-plane", nodes=0)


def works(cluster: Cluster) -> bool:
    """Whether an object can be written and read."""
    document = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "note", "namespace": "default"},
        "data": {"at": str(time.monotonic())},
    }
    cluster.apply(document)
    return bool(cluster.get("configmap", "note")["data"] == document["data"])


def test_it_is_ready_in_seconds_and_mended_after_every_kill(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(SPEC)
    cluster.up(SPEC)
    assert works(cluster)
    before = cluster.processes()
    assert set(before) == set(PROCESSES)
    for name in PROCESSES:
        faults.kill(cluster, name)
        cluster.up(SPEC)
        assert works(cluster), f"after {name} was killed"
    after = cluster.processes()
    assert all(after.values())
    assert all(before[name] != after[name] for name in PROCESSES)


def test_a_second_one_runs_beside_the_first(make_cluster: MakeCluster) -> None:
    one, other = make_cluster(ClusterSpec("test-one", 0)), make_cluster(ClusterSpec("test-two", 0))
    one.up(ClusterSpec("test-one", 0))
    other.up(ClusterSpec("test-two", 0))
    assert works(one)
    assert works(other)
    assert not set(one.state.ports.values()) & set(other.state.ports.values())
    other.down()
    assert works(one)


def test_down_leaves_nothing_and_may_be_called_again(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(SPEC)
    cluster.up(SPEC)
    ran = [process for process in cluster.processes().values() if process]
    cluster.down()
    assert not cluster.layout.root.exists()
    assert [one for one in ran if processes.start_ticks(one.pid) == one.start_ticks] == []
    cluster.down()


def test_up_that_was_killed_half_way_is_finished_by_the_next(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(SPEC)
    command = [sys.executable, "-m", "tests.cluster", "up", "--control-plane-only"]
    for seconds in (0.3, 0.6, 1.0, 1.5, 2.5):
        with subprocess.Popen([*command, "--name", SPEC.name], cwd=CHECKOUT) as launcher:
            time.sleep(seconds)
            launcher.send_signal(signal.SIGKILL)
        cluster.up(SPEC)
        assert works(cluster)
        cluster.down()


def test_restarting_the_api_server_loses_nothing(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(SPEC)
    cluster.up(SPEC)
    assert works(cluster)
    note = cluster.get("configmap", "note")
    faults.restart_control_plane(cluster)
    assert cluster.get("configmap", "note") == note


def test_an_unknown_process_cannot_be_restarted(make_cluster: MakeCluster) -> None:
    with pytest.raises(ClusterError, match="is not one of etcd, kube-apiserver"):
        faults.restart_control_plane(make_cluster(SPEC), "kubelet")


def test_prometheus_and_postgresql_need_no_nodes(make_cluster: MakeCluster) -> None:
    spec = ClusterSpec(SPEC.name, 0, (Addon.PROMETHEUS, Addon.POSTGRESQL))
    cluster = make_cluster(spec)
    cluster.up(spec)
    for name in (prometheus.NAME, prometheus.DISCOVERY, postgresql.NAME):
        faults.kill(cluster, name)
    cluster.up(spec)
    assert prometheus.ready(cluster)
    command = ["psql", postgresql.url(cluster), "--tuples-only", "--command=select 6 * 7"]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    assert answer.stdout.split() == ["42"]


def test_a_command_on_no_cluster_says_what_to_do(make_cluster: MakeCluster) -> None:
    with pytest.raises(ClusterError, match="there is no cluster 'test-control-plane': run 'up'"):
        _ = make_cluster(SPEC).state
