"""A gateway in a pod on one node, called from a pod on the other."""

import json
from typing import Any

import pytest

from tests.cluster.shell import wait_until
from tests.e2e.testbed import E2ECluster, apply, read

pytestmark = pytest.mark.timeout(900)

CONFIG = """
qpus:
  - {name: ideal, provider: aer}
  - {name: lagos, provider: fake, options: {backend: FakeLagosV2}}
"""
# Until callers are authenticated, a gateway listens on loopback only; this carries bytes to it.
FORWARDER = """
import asyncio
async def copy(reader, writer):
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()
async def forward(reader, writer):
    inner = await asyncio.open_connection("127.0.0.1", 7070)
    await asyncio.gather(copy(reader, inner[1]), copy(inner[0], writer), return_exceptions=True)
async def main():
    server = await asyncio.start_server(forward, "0.0.0.0", 7071)
    await server.serve_forever()
asyncio.run(main())
"""
CALLER = """
import json
from qiskit import QuantumCircuit
from kubeqpu.client import GatewayClient, Options, SamplerEntry, SamplerJob, circuits_to_qpy
bell = QuantumCircuit(2)
bell.h(0)
bell.cx(0, 1)
bell.measure_all()
found = {}
with GatewayClient("gateway:7071", patience_seconds=60) as client:
    for qpu, options in (("ideal", Options()), ("lagos", Options(transpile_level=3))):
        job = SamplerJob(
            circuits=circuits_to_qpy([bell]), entries=[SamplerEntry(shots=2000)],
            qpu=qpu, seed=5, options=options,
        )
        counts = client.submit(job).result(timeout_seconds=120).entries[0].counts
        found[qpu] = {int(k): int(v) for k, v in counts.row(0).items()}
print(json.dumps(found))
"""
RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}


def make_container(name: str, image: str, **fields: object) -> dict[str, Any]:
    return {
        "name": name,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "securityContext": RESTRICTED,
        **fields,
    }


def make_gateway(namespace: str, image: str) -> list[dict[str, Any]]:
    labels = {"app": "gateway"}
    tmp = {"name": "tmp", "mountPath": "/tmp"}
    mounts = [tmp, {"name": "config", "mountPath": "/etc/kubeqpu"}]
    flags = ["--config=/etc/kubeqpu/gateway.yaml", "--data-dir=/tmp/data"]
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "gateway", "namespace": namespace, "labels": labels},
        "spec": {
            "containers": [
                make_container("gateway", image, args=flags, volumeMounts=mounts),
                make_container("forwarder", image, command=["python", "-c", FORWARDER]),
            ],
            "volumes": [
                {"name": "tmp", "emptyDir": {}},
                {"name": "config", "configMap": {"name": "gateway"}},
            ],
            "terminationGracePeriodSeconds": 5,
        },
    }
    return [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "gateway", "namespace": namespace},
            "data": {"gateway.yaml": CONFIG},
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "gateway", "namespace": namespace},
            "spec": {"selector": labels, "ports": [{"port": 7071}]},
        },
        pod,
    ]


def make_caller(namespace: str, image: str) -> dict[str, Any]:
    elsewhere = {
        "podAntiAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": [
                {
                    "labelSelector": {"matchLabels": {"app": "gateway"}},
                    "topologyKey": "kubernetes.io/hostname",
                }
            ]
        }
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "caller", "namespace": namespace},
        "spec": {
            "containers": [
                make_container(
                    "caller",
                    image,
                    command=["python", "-c", CALLER],
                    volumeMounts=[{"name": "tmp", "mountPath": "/tmp"}],
                )
            ],
            "volumes": [{"name": "tmp", "emptyDir": {}}],
            "affinity": elsewhere,
            "restartPolicy": "Never",
        },
    }


def test_a_gateway_serves_a_pod_on_another_node(testbed: E2ECluster, namespace: str) -> None:
    apply(testbed, *make_gateway(namespace, testbed.provide("qpu-gateway")))
    where = f"--namespace={namespace}"
    testbed.kubectl("wait", "--for=condition=Ready", "pod/gateway", "--timeout=120s", where)
    apply(testbed, make_caller(namespace, testbed.provide("cutting")))

    def phase() -> str:
        return str(read(testbed, "pod", "caller", where)["status"].get("phase"))

    wait_until(
        lambda: phase() in {"Succeeded", "Failed"}, "the caller to end", seconds=180, every=0.5
    )
    answer = testbed.kubectl("logs", "caller", where)
    assert phase() == "Succeeded", answer
    pods = {item["metadata"]["name"]: item for item in read(testbed, "pods", where)["items"]}
    assert pods["gateway"]["spec"]["nodeName"] != pods["caller"]["spec"]["nodeName"]

    counts = json.loads(answer)
    assert set(counts["ideal"]) == {"0", "3"}
    assert sum(counts["ideal"].values()) == sum(counts["lagos"].values()) == 2000
    # Five standard deviations around one half.
    assert abs(counts["ideal"]["0"] - 1000) < 112
    faithful = counts["lagos"]["0"] + counts["lagos"]["3"]
    assert 1600 < faithful < 2000, "a noisy QPU errs sometimes, but not often"
