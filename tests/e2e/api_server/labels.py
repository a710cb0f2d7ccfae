"""Nodes and QPUs as tests of node labels need them."""

from typing import Any

from kubeqpu.common import api
from tests.e2e.api_server.controller import STATUS
from tests.e2e.api_server.server import APIServer

FEZ = {"qpu.kubeqpu.io/fez": "true", "slots.kubeqpu.io/qpu": "true"}
OWN = {"team": "lab"}


def put_node(server: APIServer, name: str, **labels: str) -> None:
    metadata = {"name": name, "labels": {**OWN, **labels}}
    server.apply({"apiVersion": "v1", "kind": "Node", "metadata": metadata}, manager="kubelet")


def put_qpu(server: APIServer, name: str, **slots: int) -> None:
    metadata = {"name": name}
    head: dict[str, Any] = {"apiVersion": api.API_VERSION, "kind": "QPU", "metadata": metadata}
    server.apply({**head, "spec": {"provider": "fake"}}, manager="kubeqpu-gateway")
    report_slots(server, name, **slots)


def report_slots(server: APIServer, name: str, **slots: int) -> None:
    nodes = [{"name": node, "slots": count, "held": 0} for node, count in slots.items()]
    head = {"apiVersion": api.API_VERSION, "kind": "QPU", "metadata": {"name": name}}
    server.apply({**head, "status": {"nodes": nodes}}, manager="kubeqpu-gateway", options=STATUS)


def labels(server: APIServer, node: str) -> dict[str, str]:
    found: dict[str, str] = server.get("node", node)["metadata"]["labels"]
    return found
