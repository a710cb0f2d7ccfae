"""Prometheus beside the control plane. It reaches pods through the API server, as it would from
outside any cluster; which pods, `discovery` says.
"""

from __future__ import annotations

import json
import signal
import sys
import urllib.request
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.error import URLError

from tests.cluster import processes, state
from tests.cluster.controlplane import LOOPBACK, death_of
from tests.cluster.layout import CHECKOUT
from tests.cluster.shell import wait_until

if TYPE_CHECKING:
    from tests.cluster.cluster import Cluster

NAME = "prometheus"
DISCOVERY = "prometheus-discovery"


def url(cluster: Cluster) -> str:
    """Where Prometheus answers."""
    return f"http://{LOOPBACK}:{cluster.state.ports[NAME]}"


def install(cluster: Cluster) -> None:
    """Start Prometheus if it does not run."""
    chosen, layout = cluster.state, cluster.layout
    ports = state.choose_ports({NAME: LOOPBACK}, chosen.ports)
    state.save(layout, replace(chosen, ports=ports))
    folder = layout.data(NAME)
    (folder / "rules").mkdir(parents=True, exist_ok=True)
    api_server = cluster.control_plane.url.removeprefix("https://")
    document = configuration(api_server, str(layout.pki), str(folder))
    state.write(folder / "prometheus.yaml", json.dumps(document, indent=2))
    processes.start(
        layout, DISCOVERY,
        ["env", f"--chdir={CHECKOUT}", sys.executable, "-m", "tests.cluster.addons.discovery",
         cluster.name, api_server, f"{folder}/targets.json"],
        cgroups=cluster.control_plane.host_cgroups(),
    )  # fmt: skip
    processes.start(
        layout, NAME,
        ["prometheus", f"--config.file={folder}/prometheus.yaml",
         f"--storage.tsdb.path={folder}/data", f"--web.listen-address={LOOPBACK}:{ports[NAME]}",
         "--storage.tsdb.retention.time=1d"],
        cgroups=cluster.control_plane.host_cgroups(),
    )  # fmt: skip
    wait_until(lambda: ready(cluster), "Prometheus to be ready", seconds=60,
               still_alive=death_of(layout, NAME))  # fmt: skip


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


def configuration(api_server: str, pki: str, folder: str) -> dict[str, Any]:
    """What is scraped, and by which way; rules are every file in the rules folder."""
    secured = {
        "scheme": "https",
        "tls_config": {
            "ca_file": f"{pki}/ca.crt",
            "cert_file": f"{pki}/admin.crt",
            "key_file": f"{pki}/admin.key",
        },
    }
    return {
        "global": {"scrape_interval": "5s", "evaluation_interval": "5s"},
        "rule_files": [f"{folder}/rules/*.yaml"],
        "scrape_configs": [
            {"job_name": "apiserver", **secured, "static_configs": [{"targets": [api_server]}]},
            {
                "job_name": "pods",
                **secured,
                "file_sd_configs": [
                    {"files": [f"{folder}/targets.json"], "refresh_interval": "2s"}
                ],
            },
        ],
    }
