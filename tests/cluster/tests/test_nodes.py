"""Nodes that are nodes: pods reach each other and the API, and faults do what they say."""

from __future__ import annotations

import time

import pytest

from tests.cluster import faults
from tests.cluster.cluster import Cluster
from tests.cluster.shell import wait_until
from tests.cluster.tests.helpers import pod, runs_pods, status, wait_for_phase

pytestmark = pytest.mark.timeout(600)


def serve(cluster: Cluster, name: str, node: str) -> str:
    """A pod that answers its name on port 8080, with a service; its address."""
    script = f"mkdir /www; echo {name} > /www/index.html; httpd -f -p 8080 -h /www"
    cluster.apply(
        pod(cluster, name, script, nodeName=node),
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": name, "namespace": "default"},
            "spec": {"selector": {"app": name}, "ports": [{"port": 80, "targetPort": 8080}]},
        },
    )
    wait_for_phase(cluster, name, "Running")
    return str(status(cluster, name)["podIP"])


def ask(cluster: Cluster, node: str, url: str) -> str:
    """What a pod on a node gets from a URL."""
    name = f"ask-{node}-{time.monotonic_ns()}"
    script = f"for i in 1 2 3 4 5; do fetch {url} && exit; sleep 1; done; exit 1"
    cluster.apply(pod(cluster, name, script, nodeName=node))
    wait_for_phase(cluster, name, "Succeeded")
    return cluster.kubectl("logs", name).strip()


def test_pods_reach_pods_and_services_on_both_nodes(nodes_cluster: Cluster) -> None:
    address = serve(nodes_cluster, "web", "node-1")
    for node in ("node-1", "node-2"):
        assert ask(nodes_cluster, node, f"http://{address}:8080") == "web"
        assert ask(nodes_cluster, node, "http://web") == "web", f"by service and name from {node}"
    url = "http://web.default.svc.cluster.local"  # the bare name is in its own /etc/hosts
    inside = nodes_cluster.kubectl("exec", "web", "--", "fetch", url)
    assert inside.strip() == "web", "from itself, by way of its service"


def test_a_restarted_kubelet_or_containerd_keeps_its_pods(nodes_cluster: Cluster) -> None:
    node = nodes_cluster.node("node-1")
    nodes_cluster.apply(pod(nodes_cluster, "steady", "sleep 600", nodeName=node.name))
    wait_for_phase(nodes_cluster, "steady", "Running")
    before = status(nodes_cluster, "steady")["containerStatuses"][0]["containerID"]
    faults.restart_kubelet(node)
    faults.restart_containerd(node)
    faults.restart_kube_proxy(node)
    runs_pods(nodes_cluster, node.name)
    after = status(nodes_cluster, "steady")["containerStatuses"][0]
    assert (after["containerID"], after["restartCount"]) == (before, 0)


def test_a_frozen_node_is_lost_and_comes_back(nodes_cluster: Cluster) -> None:
    node = nodes_cluster.node("node-2")
    with faults.frozen(node):
        faults.wait_for_readiness(nodes_cluster, node, ready=False)
        assert "node-1" in nodes_cluster.ready_nodes()
    faults.wait_for_readiness(nodes_cluster, node, ready=True)
    runs_pods(nodes_cluster, node.name)


def test_a_node_without_network_is_lost_and_comes_back(nodes_cluster: Cluster) -> None:
    node = nodes_cluster.node("node-2")
    with faults.network_cut(node):
        faults.wait_for_readiness(nodes_cluster, node, ready=False)
    faults.wait_for_readiness(nodes_cluster, node, ready=True)
    runs_pods(nodes_cluster, node.name)


def test_a_full_disk_is_noticed_and_only_there(nodes_cluster: Cluster) -> None:
    def under_pressure() -> set[str]:
        return {
            item["metadata"]["name"]
            for item in nodes_cluster.get("nodes")["items"]
            for condition in item["status"]["conditions"]
            if condition["type"] == "DiskPressure" and condition["status"] == "True"
        }

    node = nodes_cluster.node("node-1")
    with faults.disk_full(node, leave_bytes=50 * 1024**2):
        assert faults.free_bytes(node) <= 50 * 1024**2
        wait_until(lambda: under_pressure() == {"node-1"}, "disk pressure", seconds=60)
    wait_until(lambda: under_pressure() == set(), "the pressure to end", seconds=60)


def test_a_node_whose_power_failed_comes_back(nodes_cluster: Cluster) -> None:
    node = nodes_cluster.node("node-1")
    faults.crash(node)
    nodes_cluster.start_node(node)
    faults.wait_for_readiness(nodes_cluster, node, ready=True)
    runs_pods(nodes_cluster, node.name)


def test_up_mends_what_was_killed(nodes_cluster: Cluster) -> None:
    spec = nodes_cluster.state.spec
    for name in list(nodes_cluster.processes()):
        faults.kill(nodes_cluster, name)
        nodes_cluster.up(spec)
        assert all(nodes_cluster.processes().values()), f"after {name} was killed"
        faults.wait_for_readiness(nodes_cluster, nodes_cluster.node("node-1"), ready=True)
    for node in nodes_cluster.nodes:
        runs_pods(nodes_cluster, node.name)
