"""Objects for tests of the webhooks, and JSON patches applied as RFC 6902 says."""

import copy
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from hypothesis import strategies as st

from kubeqpu.admission.outlooks import Outlook
from kubeqpu.admission.webhooks.drafts import Operation, Verdict
from kubeqpu.admission.webhooks.pods import Surroundings, mutate_pod
from kubeqpu.common import api
from kubeqpu.common.requests import PodRequest

Object = dict[str, Any]
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
AUTHORITY = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
FOLDER = "/var/run/secrets/kubeqpu.io"
QPU = "kubeqpu.io/qpu"
CPU = "kubeqpu.io/cpu-simulator"
QUEUE = "kueue.x-k8s.io/queue-name"
GATED_BY = "kueue.x-k8s.io/admission-gated-by"


def around(outlook: Outlook | None = None, **other: str) -> Surroundings:
    """Makes surroundings in which every request has the same outlook."""

    def look(_: PodRequest) -> Outlook:
        return outlook or Outlook()

    return Surroundings(look, **{"authority": AUTHORITY, **other})


def outlook(mode: api.AdmissionMode = api.AdmissionMode.GATE) -> Outlook:
    return Outlook(mode=mode)


def container(name: str = "main", **limits: str) -> Object:
    amounts = {f"kubeqpu.io/{key.replace('_', '-')}": value for key, value in limits.items()}
    return {"name": name, "image": "busybox", "resources": {"limits": amounts}}


def pod(*containers: Object, **metadata: Any) -> Object:
    spec = {"containers": list(containers or [container(qpu="1")])}
    head = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", **metadata}}
    return {**head, "spec": spec}


def job(template: Object | None = None, **metadata: Any) -> Object:
    inner = template or pod()
    head = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j", **metadata}}
    return {**head, "spec": {"template": {"metadata": inner["metadata"], "spec": inner["spec"]}}}


def jobset(*templates: Object, **metadata: Any) -> Object:
    jobs = [{"name": f"r{n}", "template": {"spec": job(one)["spec"]}}
            for n, one in enumerate(templates)]  # fmt: skip
    head = {"apiVersion": "jobset.x-k8s.io/v1alpha2", "kind": "JobSet"}
    return {**head, "metadata": {"name": "s", **metadata}, "spec": {"replicatedJobs": jobs}}


def mutate(manifest: Object, surroundings: Surroundings | None = None) -> tuple[Object, Verdict]:
    """Mutates a pod that is not refused."""
    verdict = mutate_pod(manifest, surroundings or around())
    assert verdict.refusal == ""
    return apply_patch(manifest, verdict.operations), verdict


def apply_patch(manifest: Object, operations: Sequence[Operation]) -> Object:
    """Applies a patch strictly: what it goes through or removes has to be there."""
    made = copy.deepcopy(manifest)
    for operation in operations:
        *way, last = (
            part.replace("~1", "/").replace("~0", "~") for part in operation.path.split("/")[1:]
        )
        here: Any = made
        for part in way:
            here = here[int(part)] if isinstance(here, list) else here[part]
        if isinstance(here, list):
            assert last == "-"
            here.append(copy.deepcopy(operation.value))
        else:
            assert isinstance(here, dict)
            here[last] = copy.deepcopy(operation.value)
    return made


def _maybe(**options: st.SearchStrategy[Any]) -> st.SearchStrategy[Object]:
    """Makes objects in which each part is there, null or absent."""
    parts = {key: st.none() | value for key, value in options.items()}
    return st.fixed_dictionaries({}, optional=parts)


_MOUNTS = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["kubeqpu-credentials", "data"]),
        "mountPath": st.sampled_from(
            [
                FOLDER,
                f"{FOLDER}/",
                f"{FOLDER}/token",
                "/run/secrets/kubeqpu.io",
                "/data",
                "/var/run",
            ]
        ),
    }
)
_VOLUMES: st.SearchStrategy[Object] = st.fixed_dictionaries(
    {"name": st.sampled_from(["kubeqpu-credentials", "kubeqpu-credentials-2", "data"])},
    optional={"emptyDir": st.just({}), "projected": st.just({"sources": []})},
)
_RESOURCES = _maybe(
    limits=st.dictionaries(st.sampled_from([QPU, "cpu"]), st.sampled_from(["1", "2"])),
    claims=st.just([]),
)
_CONTAINERS = st.builds(
    lambda head, rest: {**head, **rest},
    st.fixed_dictionaries({"name": st.text("abc", min_size=1, max_size=3), "image": st.just("i")}),
    _maybe(
        resources=_RESOURCES,
        volumeMounts=st.lists(_MOUNTS, max_size=2),
        restartPolicy=st.just("Always"),
    ),
)
_LABELS = st.dictionaries(
    st.sampled_from([QUEUE, "kubeqpu.io/client", "kubeqpu.io/gated", "app"]),
    st.sampled_from(["true", "team"]),
)
_ANNOTATIONS = st.dictionaries(
    st.sampled_from([GATED_BY, "kubeqpu.io/class", "kubeqpu.io/ca", "note~/"]),
    st.sampled_from(["kubeqpu-io", "example.com", "fast"]),
)
_GATES = st.lists(
    st.fixed_dictionaries({"name": st.sampled_from(["kubeqpu.io/qpu", "example.com/b"])}),
    max_size=2,
    unique_by=str,
)
_SPECS = st.builds(
    lambda head, rest: {**head, **rest},
    st.fixed_dictionaries({"containers": st.lists(_CONTAINERS, min_size=1, max_size=3)}),
    _maybe(
        initContainers=st.lists(_CONTAINERS, max_size=2),
        ephemeralContainers=st.lists(_CONTAINERS, max_size=1),
        volumes=st.lists(_VOLUMES, max_size=3, unique_by=lambda volume: str(volume["name"])),
        nodeSelector=st.dictionaries(st.sampled_from(["disk", "slots.kubeqpu.io/qpu"]),
                                     st.just("true")),
        schedulingGates=_GATES,
        schedulerName=st.sampled_from(["default-scheduler", "mine", "kubeqpu-scheduler"]),
        nodeName=st.sampled_from(["", "node-1"]),
    ),
)  # fmt: skip
_METADATA = _maybe(labels=_LABELS, annotations=_ANNOTATIONS, name=st.just("p"))
PODS: st.SearchStrategy[Object] = st.fixed_dictionaries(
    {"apiVersion": st.just("v1"), "kind": st.just("Pod"), "metadata": _METADATA, "spec": _SPECS}
)
