"""Objects that wait at gates as the webhooks leave them, and QPUs to wait for."""

import json
from datetime import UTC, datetime
from typing import Any

from kubeqpu.common import api, names
from tests.e2e.api_server.asking import ASKING, job, pod
from tests.e2e.api_server.controller import STATUS, Controller
from tests.e2e.api_server.server import APIServer

Object = dict[str, Any]
GATED_BY = "kueue.x-k8s.io/admission-gated-by"
LABELS = {names.LABEL_GATED: "true"}
LICENCE = "example.com/licence"
WAITING = f"--selector={names.LABEL_GATED}=true"


def gated_pod(name: str, *others: str) -> Object:
    """A pod that waits before the scheduler; others gate it too."""
    gates = [{"name": gate} for gate in (*others, names.GATE)]
    made = pod(name, ASKING, schedulingGates=gates)
    made["metadata"]["labels"] = LABELS
    return made


def gated_job(name: str, *others: str, kind: str = "Job") -> Object:
    """A Job or JobSet that waits before Kueue; others gate it too."""
    annotations = {GATED_BY: ",".join((*others, names.GATE))}
    return job(name, kind, labels=LABELS, annotations=annotations)


def report(server: APIServer, qpu: str, *, ready: bool) -> None:
    """Makes a QPU, or changes what its gateway says of it."""
    head: Object = {"apiVersion": api.API_VERSION, "kind": "QPU", "metadata": {"name": qpu}}
    server.apply({**head, "spec": {"provider": "fake"}}, manager="kubeqpu-gateway")
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    conditions = [
        {"type": kind, "status": "True" if ready else "False", "reason": "Told",
         "message": "", "lastTransitionTime": now}
        for kind in ("Ready", "Accepting", "Calibrated")
    ]  # fmt: skip
    status = {"numQubits": 127, "conditions": conditions}
    server.apply({**head, "status": status}, manager="kubeqpu-gateway", options=STATUS)


def create(server: APIServer, *manifests: Object) -> None:
    """Creates many objects by one command."""
    content = {"apiVersion": "v1", "kind": "List", "items": list(manifests)}
    server.kubectl("create", "--filename=-", text=json.dumps(content))


def list_waiting(server: APIServer, kinds: str = "pods,jobs") -> list[Object]:
    """Lists what has our label still."""
    found: list[Object] = server.get(kinds, "--namespace=lab", WAITING)["items"]
    return found


def read_sample(controller: Controller, sample: str) -> float:
    """Reads a metric of the gates; 0 where it is not there."""
    lines = controller.read("metrics_port", "/metrics").splitlines()
    found = [line for line in lines if line.startswith(f"kubeqpu_admission_{sample} ")]
    return float(found[0].split()[-1]) if found else 0.0
