"""Every add-on at once: Kueue and Argo take a workflow through a quota, Prometheus sees it."""

from __future__ import annotations

import json
import urllib.request
from typing import Any

import pytest

from tests.cluster.addons import postgresql, prometheus
from tests.cluster.cluster import Cluster
from tests.cluster.shell import wait_until
from tests.cluster.spec import Addon, ClusterSpec
from tests.cluster.tests.helpers import MakeCluster, bring_up, pod, wait_for_phase

pytestmark = pytest.mark.timeout(600)
KUEUE = "kueue.x-k8s.io/v1beta2"
SPEC = ClusterSpec("test-addons", nodes=2, addons=tuple(Addon))
FINISHED = {"Succeeded", "Failed", "Error"}


def kueue_object(kind: str, name: str, spec: dict[str, Any] | None, **metadata: str) -> Any:
    """An object of Kueue's."""
    body: dict[str, Any] = {
        "apiVersion": KUEUE, "kind": kind, "metadata": {"name": name, **metadata}
    }  # fmt: skip
    return body if spec is None else {**body, "spec": spec}


def quota_for_one_pod_at_a_time(cluster: Cluster) -> None:
    """A queue that admits 100 millicores, and the right to run workflows."""
    quota = [{"name": "cpu", "nominalQuota": "100m"}, {"name": "memory", "nominalQuota": "1Gi"}]
    group = {
        "coveredResources": ["cpu", "memory"],
        "flavors": [{"name": "default", "resources": quota}],
    }
    cluster.apply(
        kueue_object("ResourceFlavor", "default", None),
        kueue_object("ClusterQueue", "one", {"namespaceSelector": {}, "resourceGroups": [group]}),
        kueue_object("LocalQueue", "one", {"clusterQueue": "one"}, namespace="default"),
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": {"name": "workflows", "namespace": "default"},
            "roleRef": {
                "apiGroup": "rbac.authorization.k8s.io",
                "kind": "ClusterRole",
                "name": "workflow-executor",
            },
            "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": "default"}],
        },
    )


def workflow(cluster: Cluster) -> dict[str, Any]:
    """Two pods that could run at once, then one more."""
    container = {
        "image": cluster.images.busybox().reference,
        "imagePullPolicy": "Never",
        "command": ["sh", "-c", "echo {{inputs.parameters.text}}"],
        "resources": {"requests": {"cpu": "100m", "memory": "16Mi"}},
    }

    def call(name: str, text: str) -> dict[str, Any]:
        arguments = {"parameters": [{"name": "text", "value": text}]}
        return {"name": name, "template": "say", "arguments": arguments}

    fan = {**call("fan", "{{item}}"), "withItems": ["red", "green"]}
    after = call("after", "done")
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "metadata": {"name": "colours", "namespace": "default"},
        "spec": {
            "entrypoint": "main",
            "podMetadata": {"labels": {"kueue.x-k8s.io/queue-name": "one"}},
            "templates": [
                {"name": "main", "steps": [[fan], [after]]},
                {
                    "name": "say",
                    "inputs": {"parameters": [{"name": "text"}]},
                    "container": container,
                },
            ],
        },
    }


def admitted_at(cluster: Cluster) -> list[tuple[str, str]]:
    """When each Workload was admitted and when it had finished."""
    times = []
    for item in cluster.get("workloads", "--namespace=default")["items"]:
        found = {one["type"]: one["lastTransitionTime"] for one in item["status"]["conditions"]}
        times.append((found["Admitted"], found["Finished"]))
    return sorted(times)


def test_a_workflow_passes_a_quota_one_pod_at_a_time(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(SPEC)
    bring_up(cluster, SPEC)
    quota_for_one_pod_at_a_time(cluster)
    cluster.kubectl("create", "--filename=-", text=json.dumps(workflow(cluster)))

    def phase() -> str:
        return str(cluster.get("workflow", "colours").get("status", {}).get("phase"))

    wait_until(lambda: phase() in FINISHED, "the workflow to finish", seconds=180, every=0.5)
    assert phase() == "Succeeded"
    times = admitted_at(cluster)
    assert len(times) == 3
    assert all(times[n][1] <= times[n + 1][0] for n in range(2)), f"never two at once: {times}"
    prometheus_scrapes_a_pod(cluster)
    a_pod_reaches_postgresql(cluster)


def prometheus_scrapes_a_pod(cluster: Cluster) -> None:
    """Assert that an annotated pod's metric arrives."""
    script = "mkdir /www; echo 'answer 42' > /www/metrics; httpd -f -p 8080 -h /www"
    made = pod(cluster, "measured", script)
    made["metadata"]["annotations"] = {
        "prometheus.io/scrape": "true", "prometheus.io/port": "8080"
    }  # fmt: skip
    cluster.apply(made)
    url = f"{prometheus.url(cluster)}/api/v1/query?query=answer"

    def answer() -> list[Any]:
        with urllib.request.urlopen(url, timeout=5) as reply:
            found: list[Any] = json.load(reply)["data"]["result"]
            return found

    wait_until(lambda: bool(answer()), "the pod's metric", seconds=60, every=0.5)
    (sample,) = answer()
    assert sample["value"][1] == "42"
    assert sample["metric"]["instance"] == "default/measured"


def a_pod_reaches_postgresql(cluster: Cluster) -> None:
    """Assert that a pod can connect to the database's address."""
    host, _, port = postgresql.url(cluster).split("@")[1].split("/")[0].partition(":")
    cluster.apply(pod(cluster, "client", f"nc -w 2 {host} {port} </dev/null"))
    wait_for_phase(cluster, "client", "Succeeded")
