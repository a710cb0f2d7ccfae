"""The part of a gateway that registers QPUs, in this process, with the rights of the chart."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from kubernetes.aio import client, config

from kubeqpu.qpu_gateway.cluster.registration import Registration
from kubeqpu.qpu_gateway.providers.base import QPUSettings
from kubeqpu.qpu_gateway.qpus import QPUs, load_factories
from kubeqpu.qpu_gateway.settings import ClusterSettings
from kubeqpu.qpu_gateway.workers import WorkerLimits, WorkerPool
from tests.e2e.api_server.server import APIServer
from tools import chart

NAMESPACE = chart.NAMESPACE
RELEASE = ("kubeqpu", str(chart.CHART), f"--namespace={NAMESPACE}")
GATEWAY = f"system:serviceaccount:{NAMESPACE}:kubeqpu-gateway-default"
ENDPOINT = f"kubeqpu-gateway-default.{NAMESPACE}.svc:7070"


@dataclass(frozen=True)
class Registering:
    """What registers, and what it registers."""

    qpus: QPUs
    registration: Registration


def cluster_settings(names: Sequence[str], **changes: str) -> ClusterSettings:
    """Gives the section that the chart writes."""
    section: dict[str, object] = {
        "gateway": "default",
        "namespace": NAMESPACE,
        "endpoint": ENDPOINT,
        "owners": {name: f"kubeqpu-qpu-{name}" for name in names},
    }
    return ClusterSettings.model_validate(section | changes)


@asynccontextmanager
async def connect(server: APIServer, user: str = GATEWAY) -> AsyncIterator[client.ApiClient]:
    """Connects as somebody, with this one's rights."""
    configuration = client.Configuration()
    await config.load_kube_config(
        str(server.cluster.kubeconfig), client_configuration=configuration
    )
    async with client.ApiClient(configuration, "Impersonate-User", user) as api_client:
        yield api_client


@asynccontextmanager
async def registering(
    server: APIServer,
    sections: Sequence[Mapping[str, object]],
    *,
    user: str = GATEWAY,
    pod: str = "kubeqpu-gateway-default-0",
    **changes: str,
) -> AsyncIterator[Registering]:
    """Registers QPUs until left, and stops as planned then."""
    workers = WorkerPool(WorkerLimits())
    settings = [QPUSettings.model_validate(section) for section in sections]
    qpus = QPUs(tuple(settings), load_factories(), workers)
    names = list(qpus)
    async with connect(server, user) as api_client:
        made = Registration(api_client, cluster_settings(names, **changes), pod, qpus)
        await made.start()
        for qpu in qpus.values():
            qpu.start()
        try:
            yield Registering(qpus, made)
        finally:
            await made.stop()
            for qpu in qpus.values():
                await qpu.close()
            await workers.close()


def write_kubeconfig(server: APIServer, path: Path) -> Path:
    """Writes a kubeconfig with a token of the gateway's ServiceAccount."""
    own: dict[str, Any] = yaml.safe_load(server.cluster.kubeconfig.read_text(encoding="utf-8"))
    account = GATEWAY.rpartition(":")[2]
    token = server.kubectl("create", "token", account, f"--namespace={NAMESPACE}").strip()
    for user in own["users"]:
        user["user"] = {"token": token}
    path.write_text(yaml.safe_dump(own), encoding="utf-8")
    return path


async def until(condition: Callable[[], object], what: str, seconds: float = 15.0) -> float:
    """Waits for a condition that may ask the server; returns how long it took."""
    began = time.monotonic()
    while time.monotonic() < began + seconds:
        if await asyncio.to_thread(condition):
            return time.monotonic() - began
        await asyncio.sleep(0.1)
    raise AssertionError(f"waited {seconds} s for {what}")


def find(server: APIServer, kind: str, name: str, *options: str) -> dict[str, Any] | None:
    """Gets an object, or None."""
    text = server.kubectl("get", kind, name, "--ignore-not-found", "--output=json", *options)
    found: dict[str, Any] | None = json.loads(text) if text.strip() else None
    return found


def conditions(server: APIServer, name: str) -> dict[str, dict[str, Any]]:
    """Gets a QPU's conditions by type."""
    found = find(server, "qpu", name)
    items = (found or {}).get("status", {}).get("conditions", [])
    return {item["type"]: item for item in items}


def says(server: APIServer, name: str, kind: str, status: str, reason: str | None = None) -> bool:
    """Tells whether a condition has a status, and a reason."""
    found = conditions(server, name).get(kind, {})
    return found.get("status") == status and reason in (None, found.get("reason"))


def install(server: APIServer, folder: Path, qpus: Mapping[str, Mapping[str, object]]) -> None:
    """Installs the chart with QPUs of the gateway `default`."""
    server.make_namespace(NAMESPACE)
    values: dict[str, Any] = {
        "gateways": {"default": {"qpus": {name: dict(qpu) for name, qpu in qpus.items()}}},
        # Here are no nodes for it, and its namespace would take seconds to go.
        "devicePlugin": {"enabled": False},
    }
    path = folder / "values.yaml"
    # Helm merges maps: the chart's own QPUs leave by null.
    gone = {name: None for name in ("aer", "fake-fez") if name not in qpus}
    values["gateways"]["default"]["qpus"] |= gone
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    server.helm("upgrade", "--install", *RELEASE, f"--values={path}")


def count_writes(server: APIServer) -> int:
    """Counts what was written to QPUs and applied to Leases since the server started."""
    total = 0.0
    for line in server.kubectl("get", "--raw", "/metrics").splitlines():
        applied = line.startswith("apiserver_request_total{") and 'verb="APPLY"' in line
        if applied and ('resource="qpus"' in line or 'resource="leases"' in line):
            total += float(line.rpartition(" ")[2])
    return int(total)
