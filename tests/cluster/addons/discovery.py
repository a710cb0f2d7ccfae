"""Tells Prometheus which pods to scrape: Debian's is built without Kubernetes' discovery.

Run as a process beside it: looks at the pods every other second and writes the ones annotated
prometheus.io/scrape: "true" (with /port, /path and /scheme if need be) to a file it reads.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.error import URLError

from tests.cluster.controlplane import read
from tests.cluster.layout import Layout
from tests.cluster.state import write

ANNOTATION = "prometheus.io"
EVERY_SECONDS = 2.0


def targets(pods: Iterable[Mapping[str, Any]], api_server: str) -> list[dict[str, Any]]:
    """The pods to scrape, each by the API server's proxy, as Prometheus' files of targets."""
    return [
        {"targets": [api_server], "labels": labels(pod)}
        for pod in pods
        if pod["metadata"].get("annotations", {}).get(f"{ANNOTATION}/scrape") == "true"
        and pod["status"].get("phase") == "Running"
        and port_of(pod)
    ]


def labels(pod: Mapping[str, Any]) -> dict[str, str]:
    """A pod's labels as a target, and the way to it."""
    metadata = pod["metadata"]
    annotations = metadata.get("annotations", {})
    namespace, name = metadata["namespace"], metadata["name"]
    scheme = annotations.get(f"{ANNOTATION}/scheme", "http")
    path = annotations.get(f"{ANNOTATION}/path", "/metrics")
    place = f"{scheme}:{name}:{port_of(pod)}"
    return {
        "__metrics_path__": f"/api/v1/namespaces/{namespace}/pods/{place}/proxy{path}",
        "instance": f"{namespace}/{name}",
        "namespace": namespace,
        "pod": name,
        "node": pod["spec"].get("nodeName", ""),
        "app": metadata.get("labels", {}).get("app.kubernetes.io/name", ""),
    }


def port_of(pod: Mapping[str, Any]) -> str:
    """The annotated port, else the first one that a container declares, else nothing."""
    annotated = pod["metadata"].get("annotations", {}).get(f"{ANNOTATION}/port")
    if annotated:
        return str(annotated)
    declared = [
        port["containerPort"]
        for container in pod["spec"]["containers"]
        for port in container.get("ports", [])
    ]
    return str(declared[0]) if declared else ""


def main(name: str, api_server: str, file: str) -> None:
    """Write the targets to a file whenever they change, until we are ended."""
    layout, written = Layout(name), ""
    while True:
        try:
            pods = json.loads(read(f"https://{api_server}/api/v1/pods", layout))["items"]
            text = json.dumps(targets(pods, api_server), indent=2)
            if text != written:
                write(Path(file), text)
                written = text
        except (URLError, OSError, ValueError) as error:
            print(f"could not read the pods: {error}", file=sys.stderr, flush=True)
        time.sleep(EVERY_SECONDS)


if __name__ == "__main__":
    main(*sys.argv[1:])
