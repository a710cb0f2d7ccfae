"""Objects that ask for QPUs, and odd ones that do not."""

from typing import Any

from kubeqpu.common import api

Object = dict[str, Any]
QPU = "kubeqpu.io/qpu"
IMAGE = {"name": "main", "image": "busybox"}
ASKING = {**IMAGE, "resources": {"limits": {QPU: "1"}}}
# A JobSet as far as webhooks see it, for its own controller is not here.
JOBSET_CRD = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {
        "name": "jobsets.jobset.x-k8s.io",
        "annotations": {"api-approved.kubernetes.io": "unapproved, for a test"},
    },
    "spec": {
        "group": "jobset.x-k8s.io",
        "names": {"kind": "JobSet", "plural": "jobsets", "singular": "jobset"},
        "scope": "Namespaced",
        "versions": [
            {
                "name": "v1alpha2",
                "served": True,
                "storage": True,
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {
                            "spec": {
                                "type": "object",
                                "x-kubernetes-preserve-unknown-fields": True,
                            }
                        },
                    }
                },
            }
        ],
    },
}


def pod(name: str, *containers: Object, **spec: Any) -> Object:
    head = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "lab"}}
    return {**head, "spec": {"containers": list(containers or [IMAGE]), **spec}}


def job(name: str, kind: str = "Job", **metadata: Any) -> Object:
    template = {"spec": {"containers": [ASKING], "restartPolicy": "Never"}}
    place = {"name": name, "namespace": "lab", **metadata}
    if kind == "Job":
        spec: Object = {"template": template, "suspend": True}
        return {"apiVersion": "batch/v1", "kind": kind, "metadata": place, "spec": spec}
    jobs = [{"name": "a", "template": {"spec": {"template": {"spec": {"containers": [IMAGE]}}}}},
            {"name": "b", "template": {"spec": {"template": template}}}]  # fmt: skip
    head = {"apiVersion": "jobset.x-k8s.io/v1alpha2", "kind": kind, "metadata": place}
    return {**head, "spec": {"replicatedJobs": jobs}}


def qpu_class(name: str, **labels: str) -> Object:
    selector = {"selector": {"matchLabels": labels}}
    head = {"apiVersion": api.API_VERSION, "kind": "QPUClass", "metadata": {"name": name}}
    return {**head, "spec": {"requirements": selector, "admission": "None"}}


ODD = [
    pod("plain"),
    pod("nothing-asked", {**IMAGE, "resources": {}}),
    pod("other-asked", {**IMAGE, "resources": {"limits": {"cpu": "1"}, "requests": {"cpu": "1"}}}),
    pod("init", IMAGE, initContainers=[{"name": "init", "image": "busybox"}]),
    pod("sidecar", IMAGE, initContainers=[{"name": "proxy", "image": "busybox",
                                           "restartPolicy": "Always",
                                           "resources": {"requests": {"memory": "1Mi"}}}]),
]  # fmt: skip
