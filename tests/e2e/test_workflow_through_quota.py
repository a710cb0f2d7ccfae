"""An Argo workflow over two nodes whose steps wait for a Kueue quota."""

import json
from typing import Any

import pytest

from tests.cluster.shell import wait_until
from tests.e2e.testbed import E2ECluster, apply, read

pytestmark = pytest.mark.timeout(900)
KUEUE = "kueue.x-k8s.io/v1beta2"
PARTS = 4
AT_ONCE = 2
COUNT_FROM = """
import collections
print(dict(collections.Counter("{{inputs.parameters.part}}" * 3)))
"""


def make_queue(namespace: str) -> list[dict[str, Any]]:
    quota = [{"name": "cpu", "nominalQuota": f"{100 * AT_ONCE}m"}]
    group = {
        "coveredResources": ["cpu"],
        "flavors": [{"name": namespace, "resources": quota}],
    }
    return [
        {"apiVersion": KUEUE, "kind": "ResourceFlavor", "metadata": {"name": namespace}},
        {
            "apiVersion": KUEUE,
            "kind": "ClusterQueue",
            "metadata": {"name": namespace},
            "spec": {"namespaceSelector": {}, "resourceGroups": [group]},
        },
        {
            "apiVersion": KUEUE,
            "kind": "LocalQueue",
            "metadata": {"name": "parts", "namespace": namespace},
            "spec": {"clusterQueue": namespace},
        },
    ]


def make_workflow(namespace: str, image: str) -> dict[str, Any]:
    spread = [
        {
            "maxSkew": 1,
            "topologyKey": "kubernetes.io/hostname",
            "whenUnsatisfiable": "DoNotSchedule",
            "labelSelector": {"matchLabels": {"app": "part"}},
        }
    ]
    step = {
        "name": "part",
        "inputs": {"parameters": [{"name": "part"}]},
        "metadata": {"labels": {"app": "part", "kueue.x-k8s.io/queue-name": "parts"}},
        "container": {
            "image": image,
            "imagePullPolicy": "IfNotPresent",
            "command": ["python", "-c", COUNT_FROM],
            "resources": {"requests": {"cpu": "100m"}},
        },
    }
    call = {
        "name": "fan",
        "template": "part",
        "withSequence": {"count": str(PARTS)},
        "arguments": {"parameters": [{"name": "part", "value": "{{item}}"}]},
    }
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "metadata": {"name": "parts", "namespace": namespace},
        "spec": {
            "entrypoint": "main",
            "podSpecPatch": json.dumps({"topologySpreadConstraints": spread}),
            "templates": [{"name": "main", "steps": [[call]]}, step],
        },
    }


def list_admissions(testbed: E2ECluster, namespace: str) -> list[tuple[str, str]]:
    """Lists when each workload was admitted and when it had finished."""
    times = []
    for item in read(testbed, "workloads", f"--namespace={namespace}")["items"]:
        found = {one["type"]: one["lastTransitionTime"] for one in item["status"]["conditions"]}
        times.append((found["Admitted"], found["Finished"]))
    return sorted(times)


def test_a_workflow_passes_a_quota_over_two_nodes(testbed: E2ECluster, namespace: str) -> None:
    where = f"--namespace={namespace}"
    apply(testbed, *make_queue(namespace))
    try:
        image = testbed.provide("qpu-gateway")
        testbed.kubectl("create", "--filename=-", text=json.dumps(make_workflow(namespace, image)))

        def phase() -> str:
            return str(read(testbed, "workflow", "parts", where).get("status", {}).get("phase"))

        finished = {"Succeeded", "Failed", "Error"}
        wait_until(lambda: phase() in finished, "the workflow to end", seconds=240, every=0.5)
        assert phase() == "Succeeded"
        admissions = list_admissions(testbed, namespace)
        pods = read(testbed, "pods", where)["items"]
    finally:
        testbed.kubectl("delete", "clusterqueue", namespace, "--wait=false")

    assert len(admissions) == PARTS
    for admitted, _ in admissions:
        running = [one for one in admissions if one[0] <= admitted < one[1]]
        assert len(running) <= AT_ONCE, f"the quota allows {AT_ONCE} at once: {admissions}"
    assert len({pod["spec"]["nodeName"] for pod in pods}) == 2
