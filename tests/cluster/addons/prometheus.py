"""Prometheus beside the control plane. It finds pods and reaches them through the API server,
as it would from outside any cluster: pods annotated prometheus.io/scrape: "true".
"""

from __future__ import annotations

import json
import signal
import urllib.request
from typing import TYPE_CHECKING, Any
from urllib.error import URLError

from tests.cluster import processes, state
from tests.cluster.controlplane import LOOPBACK, death_of
from tests.cluster.shell import wait_until

if TYPE_CHECKING:
    from tests.cluster.cluster import Cluster

NAME = "prometheus"
PATH_OF_POD = "/api/v1/namespaces/$1/pods/$2:$3/proxy$4"


def url(cluster: Cluster) -> str:
    """Where Prometheus answers."""
    return f"http://{LOOPBACK}:{cluster.state.ports[NAME]}"


def install(cluster: Cluster) -> None:
    """Start Prometheus if it does not run."""
    chosen = cluster.state
    ports = state.choose_ports({NAME: LOOPBACK}, chosen.ports)
    state.save(cluster.layout, state.ClusterState(chosen.spec, chosen.octet, ports))
    folder = cluster.layout.data(NAME)
    (folder / "rules").mkdir(parents=True, exist_ok=True)
    write_configuration(cluster)
    processes.start(
        cluster.layout, NAME,
        ["prometheus", f"--config.file={folder}/prometheus.yaml",
         f"--storage.tsdb.path={folder}/data", f"--web.listen-address={LOOPBACK}:{ports[NAME]}",
         "--storage.tsdb.retention.time=1d"],
    )  # fmt: skip
    wait_until(lambda: ready(cluster), "Prometheus to be ready", seconds=60,
               still_alive=death_of(cluster.layout, NAME))  # fmt: skip


def ready(cluster: Cluster) -> bool:
    """Whether Prometheus says it is ready."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{url(cluster)}/-/ready", timeout=2) as reply:
            return bool(reply.status == 200)
    except (URLError, OSError):
        return False


def reload(cluster: Cluster) -> None:
    """Make Prometheus read its configuration and the files in its rules folder again."""
    if process := processes.find(cluster.layout, NAME):
        processes.send(process, signal.SIGHUP)


def write_configuration(cluster: Cluster) -> None:
    """Write prometheus.yaml; rules are every file in the folder beside it."""
    folder = cluster.layout.data(NAME)
    document = configuration(cluster.control_plane.url, str(cluster.layout.pki))
    document["rule_files"] = [f"{folder}/rules/*.yaml"]
    state.write(folder / "prometheus.yaml", json.dumps(document, indent=2))


def configuration(api_server: str, pki: str) -> dict[str, Any]:
    """What is scraped, and by which way."""
    tls = {
        "ca_file": f"{pki}/ca.crt", "cert_file": f"{pki}/admin.crt", "key_file": f"{pki}/admin.key"
    }  # fmt: skip
    meta = "__meta_kubernetes_pod"
    annotation = f"{meta}_annotation_prometheus_io"
    address = api_server.removeprefix("https://")

    def take(source: list[str], target: str, **more: str) -> dict[str, Any]:
        return {"source_labels": source, "target_label": target, **more}

    return {
        "global": {"scrape_interval": "5s", "evaluation_interval": "5s"},
        "scrape_configs": [
            {
                "job_name": "kube-apiserver",
                "scheme": "https",
                "tls_config": tls,
                "static_configs": [{"targets": [address]}],
            },
            {
                "job_name": "pods",
                "scheme": "https",
                "tls_config": tls,
                "kubernetes_sd_configs": [
                    {"role": "pod", "api_server": api_server, "tls_config": tls}
                ],
                "relabel_configs": [
                    {"source_labels": [f"{annotation}_scrape"], "action": "keep", "regex": "true"},
                    {"source_labels": [f"{meta}_phase"], "action": "keep", "regex": "Running"},
                    # An annotated port, or failing that the container's own.
                    take([f"{meta}_container_port_number"], "__tmp_port"),
                    take([f"{annotation}_port"], "__tmp_port", regex="(.+)"),
                    take([f"{annotation}_path"], "__metrics_path__", regex="(.+)"),
                    take(
                        ["__meta_kubernetes_namespace", f"{meta}_name", "__tmp_port",
                         "__metrics_path__"],
                        "__metrics_path__",
                        regex="(.+);(.+);(.+);(.+)",
                        replacement=PATH_OF_POD,
                    ),
                    take(["__tmp_port"], "__address__", regex=".*", replacement=address),
                    take(["__meta_kubernetes_namespace"], "namespace"),
                    take([f"{meta}_name"], "pod"),
                    take([f"{meta}_container_name"], "container"),
                    take([f"{meta}_node_name"], "node"),
                ],
            },
        ],
    }  # fmt: skip
