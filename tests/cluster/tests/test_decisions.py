"""What the launcher decides, without running anything."""

from __future__ import annotations

import ipaddress
import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.cluster import cli, network, nodeconfig, programs
from tests.cluster.addons.discovery import targets
from tests.cluster.builder import Builder
from tests.cluster.errors import ClusterError
from tests.cluster.images import Images
from tests.cluster.network import Addresses
from tests.cluster.spec import Addon, ClusterSpec, merge, parse_addons


@pytest.mark.parametrize("name", ["", "Upper", "-a", "a-", "a_b", "9x", "a" * 31, "cache"])
def test_a_name_that_cannot_name_a_cluster_is_refused(name: str) -> None:
    with pytest.raises(ClusterError, match="not usable"):
        ClusterSpec(name)


def test_addons_come_in_the_order_of_installation_whatever_the_order_asked() -> None:
    assert parse_addons("argo, coredns,argo") == (Addon.COREDNS, Addon.ARGO)


def test_an_unknown_addon_is_refused_with_those_there_are() -> None:
    with pytest.raises(ClusterError, match="unknown add-on linkerd: there are coredns, kueue"):
        parse_addons("linkerd")


def test_a_control_plane_alone_refuses_addons_that_run_as_pods() -> None:
    with pytest.raises(ClusterError, match="kueue run as pods"):
        ClusterSpec("c", 0, (Addon.KUEUE, Addon.PROMETHEUS))
    ClusterSpec("c", 0, (Addon.PROMETHEUS, Addon.POSTGRESQL))


def test_a_cluster_grows_by_up_and_does_not_shrink() -> None:
    running = ClusterSpec("c", 2, (Addon.ARGO,))
    assert merge(running, ClusterSpec("c", 3, (Addon.COREDNS,))) == ClusterSpec(
        "c", 3, (Addon.COREDNS, Addon.ARGO)
    )
    for nodes in (0, 1):
        with pytest.raises(ClusterError, match="run 'down' first"):
            merge(running, ClusterSpec("c", nodes))


def test_the_command_line_says_what_the_cluster_is_to_be() -> None:
    words = ["up", "--name", "x", "--nodes", "3", "--addons", "kueue"]
    assert cli.spec_of(cli.parser().parse_args(words)) == ClusterSpec("x", 3, (Addon.KUEUE,))
    alone = cli.parser().parse_args(["up", "--control-plane-only"])
    assert cli.spec_of(alone).nodes == 0


def test_networks_in_use_are_passed_over() -> None:
    used = [ipaddress.IPv4Network("10.100.0.0/15"), ipaddress.IPv4Network("10.102.3.0/24")]
    assert network.free_octets(used, 0)[:2] == [103, 104]


def test_no_network_is_free_inside_a_route_that_covers_all() -> None:
    assert network.free_octets([ipaddress.IPv4Network("10.0.0.0/8")], 0) == []


def test_every_address_of_a_cluster_is_its_own() -> None:
    addresses = Addresses(150)
    pods = [ipaddress.ip_network(addresses.pods_of(index)) for index in range(1, 21)]
    services = ipaddress.ip_network(addresses.services)
    nodes = {ipaddress.ip_address(addresses.node(index)) for index in range(1, 21)}
    assert len(nodes) == 20
    assert not any(network.overlaps(services) for network in pods)
    assert not any(address in network for network in pods for address in nodes)
    assert ipaddress.ip_address(addresses.dns) in services


def test_links_fit_the_kernels_fifteen_characters() -> None:
    assert len(Addresses(227).cable(20)) <= 15


def test_another_source_another_build(tmp_path: Path) -> None:
    pins = tmp_path / "go.sum"
    pins.write_text("one")
    first = programs.key(programs.ETCD, tmp_path)
    assert programs.key(programs.ETCD, tmp_path) == first
    assert programs.key(replace(programs.ETCD, link_flags="-s"), tmp_path) != first
    pins.write_text("two")
    assert programs.key(programs.ETCD, tmp_path) != first


def test_only_what_a_cluster_runs_is_built_for_it() -> None:
    names = [program.name for program in programs.needed(ClusterSpec("c", 0))]
    assert names == ["etcd", "kubernetes"]
    with_kueue = programs.needed(ClusterSpec("c", 1, (Addon.KUEUE,)))
    assert {program.name for program in with_kueue} == {
        "etcd", "kubernetes", "pause", "helm", "kueue"
    }  # fmt: skip


def test_a_nodes_files_name_its_own_addresses() -> None:
    node = nodeconfig.NodeConfig("node-2", 2, Addresses(140), "/k/node-2", Path("/pki"), "pause")
    kubelet = json.loads(nodeconfig.kubelet_json(node))
    assert kubelet["cgroupRoot"] == "/k/node-2"
    assert kubelet["clusterDNS"] == ["10.140.128.10"]
    assert "10.140.2.0/24" in nodeconfig.cni_json(node)
    assert 'sandbox_image = "pause"' in nodeconfig.containerd_toml(node)


def test_prometheus_scrapes_annotated_running_pods_through_the_api_server() -> None:
    def pod(name: str, phase: str = "Running", **annotations: str) -> dict[str, object]:
        notes = {f"prometheus.io/{key}": value for key, value in annotations.items()}
        return {
            "metadata": {"name": name, "namespace": "ns", "annotations": notes},
            "spec": {"containers": [{"ports": [{"containerPort": 9000}]}], "nodeName": "node-1"},
            "status": {"phase": phase},
        }

    pods = [
        pod("plain", scrape="true"),
        pod("special", scrape="true", port="1", path="/m", scheme="https"),
        pod("silent"),
        pod("done", "Succeeded", scrape="true"),
    ]
    found = targets(pods, "10.1.0.1:6443")
    assert [target["labels"]["__metrics_path__"] for target in found] == [
        "/api/v1/namespaces/ns/pods/http:plain:9000/proxy/metrics",
        "/api/v1/namespaces/ns/pods/https:special:1/proxy/m",
    ]
    assert {target["targets"][0] for target in found} == {"10.1.0.1:6443"}


def test_layers_are_removed_only_above_the_limit(tmp_path: Path) -> None:
    kept = Images(Builder(print, cache=tmp_path), print)
    layer = tmp_path / "buildah" / "root" / "layer"
    layer.parent.mkdir(parents=True)
    layer.write_bytes(b"x" * 1000)
    assert kept.prune(1000) == 1000
    assert layer.exists()
    assert kept.prune(999) == 1000
    assert not layer.exists()
    assert kept.prune(0) == 0
