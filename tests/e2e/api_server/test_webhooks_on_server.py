"""The chart's webhooks on a real API server that calls a real process of them.

The process has the chart's rights, and its address stands in the chart's configurations.
"""

import json
import statistics
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from kubernetes.aio import config

from kubeqpu.kube.objects import ObjectsAPI
from kubeqpu.kube.resources import PODS
from tests.cluster.errors import ClusterError
from tests.cluster.shell import wait_until
from tests.e2e.api_server.asking import ASKING, IMAGE, JOBSET_CRD, ODD, job, pod, qpu_class
from tests.e2e.api_server.controller import acting_as
from tests.e2e.api_server.server import APIServer
from tests.e2e.api_server.webhooks import (
    ACCOUNT,
    CONFIGURATIONS,
    QUEUE,
    SETTINGS,
    Webhooks,
    configurations,
    giving_queues,
)

Object = dict[str, Any]
LAB = "--namespace=lab"
GATED_BY = "kueue.x-k8s.io/admission-gated-by"
RIGHTS = frozenset({"ServiceAccount", "ClusterRole", "ClusterRoleBinding"})


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def webhooks(
    server: APIServer,
    definitions: None,
    authority: trustme.CA,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Webhooks]:
    for name, labels in (("lab", {}), ("queued-lab", {"queued": "true"})):
        metadata = {"name": name, "labels": labels}
        server.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
        server.kubectl("wait", "--for=create", "serviceaccount/default", f"--namespace={name}")
    server.apply(JOBSET_CRD)
    server.kubectl("wait", "--for=condition=Established", "crd/jobsets.jobset.x-k8s.io")
    with acting_as(server, ACCOUNT, RIGHTS, SETTINGS) as kubeconfig:
        process = Webhooks(kubeconfig, tmp_path_factory.mktemp("tls"), authority)
        server.apply(*configurations(authority, process.port))
        yield process
        process.stop()
    for kind in CONFIGURATIONS:
        server.kubectl("delete", kind, ACCOUNT)
    server.kubectl("delete", "crd/jobsets.jobset.x-k8s.io", "namespace/lab", "namespace/queued-lab",
                   "--timeout=60s")  # fmt: skip


@pytest.fixture
def up(webhooks: Webhooks) -> Webhooks:
    webhooks.stop()
    webhooks.start()
    return webhooks


@pytest.fixture
def down(webhooks: Webhooks) -> Webhooks:
    webhooks.stop()
    return webhooks


def create(server: APIServer, manifest: Object, *options: str) -> Object:
    text = server.kubectl("create", "--filename=-", "--output=json", *options,
                          text=json.dumps(manifest))  # fmt: skip
    made: Object = json.loads(text)
    return made


class TestWhileTheWebhooksAreDown:
    def test_other_objects_never_notice(self, server: APIServer, down: Webhooks) -> None:
        for manifest in ODD:
            assert "kubeqpu" not in json.dumps(create(server, manifest)["spec"])
        # One that is added later, by a request of its own.
        server.kubectl("debug", "plain", "--image=busybox", "--container=debug", LAB,
                       "--profile=general", "--quiet", "--attach=false")  # fmt: skip
        found = server.get("pod", "plain", LAB)
        assert found["spec"]["ephemeralContainers"][0]["name"] == "debug"
        other = job("other")
        other["spec"]["template"]["spec"]["containers"] = [IMAGE]
        create(server, other)
        create(server, {**job("other", "JobSet"), "spec": {}})

    def test_the_clusters_own_namespace_never_notices(
        self, server: APIServer, down: Webhooks
    ) -> None:
        manifest = pod("asking", ASKING)
        manifest["metadata"]["namespace"] = "kube-system"
        made = create(server, manifest, "--dry-run=server")
        assert "kubeqpu.io/managed" not in made["metadata"].get("labels", {})

    @pytest.mark.parametrize(
        "manifest",
        [
            pod("refused", ASKING),
            pod("refused", IMAGE, initContainers=[{**ASKING, "name": "init"}]),
            job("refused"),
            job("refused", "JobSet"),
        ],
        ids=["pod", "init container", "Job", "JobSet"],
    )
    def test_what_asks_is_refused_and_the_refusal_names_us(
        self, server: APIServer, down: Webhooks, manifest: Object
    ) -> None:
        with pytest.raises(ClusterError, match=r"failed calling webhook.*mutate\.kubeqpu\.io"):
            create(server, manifest)

    def test_clients_are_refused_too(self, server: APIServer, down: Webhooks) -> None:
        manifest = pod("client")
        manifest["metadata"]["labels"] = {"kubeqpu.io/client": "true"}
        with pytest.raises(ClusterError, match="failed calling webhook"):
            create(server, manifest)

    def test_classes_can_be_mended(self, server: APIServer, down: Webhooks) -> None:
        server.apply(qpu_class("mended"), options=("--dry-run=server",))


class TestPods:
    def test_one_that_asks_is_completed(
        self, server: APIServer, up: Webhooks, authority: trustme.CA
    ) -> None:
        made = create(server, pod("asking", ASKING, initContainers=[{**IMAGE, "name": "init"}]))
        spec, metadata = made["spec"], made["metadata"]
        assert spec["schedulerName"] == "kubeqpu-scheduler"
        assert spec["nodeSelector"] == {"slots.kubeqpu.io/qpu": "true"}
        assert spec["schedulingGates"] == [{"name": "kubeqpu.io/qpu"}]
        for container in spec["containers"] + spec["initContainers"]:
            paths = {mount["mountPath"] for mount in container["volumeMounts"]}
            assert "/var/run/secrets/kubeqpu.io" in paths
        assert metadata["annotations"]["kubeqpu.io/ca"] == authority.cert_pem.bytes().decode()
        assert metadata["labels"] == {"kubeqpu.io/managed": "true", "kubeqpu.io/gated": "true"}
        # What the server gives back, created again, is what it was.
        again = {
            "apiVersion": "v1",
            "kind": "Pod",
            "spec": spec,
            "metadata": {**metadata, "name": "again", "resourceVersion": None, "uid": None},
        }
        second = create(server, again)
        for part in ("volumes", "containers", "initContainers", "schedulingGates", "nodeSelector"):
            assert second["spec"][part] == spec[part]
        # As the controller lifts it.
        server.kubectl("patch", "pod", "asking", LAB, "--type=merge",
                       '--patch={"spec":{"schedulingGates":[]}}')  # fmt: skip

    def test_dry_runs_tell_the_same(self, server: APIServer, up: Webhooks) -> None:
        made = create(server, pod("dry", ASKING), "--dry-run=server")
        assert made["spec"]["schedulerName"] == "kubeqpu-scheduler"

    def test_warnings_reach_the_author(self, server: APIServer, up: Webhooks) -> None:
        manifest = pod("warned", ASKING)
        manifest["metadata"]["annotations"] = {"kubeqpu.io/class": "gone"}
        path = "/api/v1/namespaces/lab/pods?dryRun=All"
        server.kubectl("create", f"--raw={path}", "--filename=-", text=json.dumps(manifest))
        wait_until(lambda: any(line.startswith("kubeqpu_webhooks_warnings_total ")
                               and float(line.split()[-1]) > 0 for line in up.metrics()),
                   "the warning to be counted", seconds=5)  # fmt: skip
        with pytest.raises(ClusterError, match="Warning: There is no QPUClass gone"):
            # kubectl itself prints warnings where an error is read from.
            create(server, manifest, "--dry-run=server", "--warnings-as-errors")

    def test_what_is_malformed_is_refused_in_words(self, server: APIServer, up: Webhooks) -> None:
        manifest = pod("bad", ASKING)
        manifest["metadata"]["annotations"] = {"kubeqpu.io/min-qubits": "ten"}
        with pytest.raises(ClusterError, match=r"min-qubits\]: 'ten' is no number of qubits"):
            create(server, manifest)

    def test_a_class_without_gates_has_none(self, server: APIServer, up: Webhooks) -> None:
        server.apply(qpu_class("free"))
        manifest = pod("free", ASKING)
        manifest["metadata"]["annotations"] = {"kubeqpu.io/class": "free"}

        def gates() -> list[Object]:
            made = create(server, manifest, "--dry-run=server")
            found: list[Object] = made["spec"].get("schedulingGates", [])
            return found

        wait_until(lambda: gates() == [], "the class to be known", seconds=10)
        server.kubectl("delete", "qpuclass", "free")

    def test_a_queue_that_another_webhook_gives_moves_the_gate(
        self, server: APIServer, up: Webhooks, authority: trustme.CA
    ) -> None:
        manifest = pod("moved", ASKING)
        manifest["metadata"]["namespace"] = "queued-lab"
        with giving_queues(authority) as other:
            server.apply(other)

            def made() -> Object:
                return create(server, manifest, "--dry-run=server")

            wait_until(
                lambda: QUEUE in made()["metadata"]["labels"], "the other webhook", seconds=10
            )
            found = create(server, manifest)
            server.kubectl("delete", "mutatingwebhookconfiguration", "kueue-stand-in")
        assert found["metadata"]["annotations"][GATED_BY] == "kubeqpu.io/qpu"
        assert found["metadata"]["labels"]["kubeqpu.io/gated"] == "true"
        assert found["spec"].get("schedulingGates", []) == []


class TestJobs:
    @pytest.mark.parametrize("kind", ["Job", "JobSet"])
    def test_they_wait_where_kueue_reads_it(
        self, server: APIServer, up: Webhooks, kind: str
    ) -> None:
        queued = create(server, job("queued", kind, labels={QUEUE: "team"}))["metadata"]
        assert queued["annotations"][GATED_BY] == "kubeqpu.io/qpu"
        assert queued["labels"]["kubeqpu.io/gated"] == "true"
        plain = create(server, job("plain", kind))["metadata"]
        assert GATED_BY not in plain.get("annotations", {})

    def test_the_pods_of_a_job_are_completed(self, server: APIServer, up: Webhooks) -> None:
        manifest = job("making")
        manifest["spec"]["suspend"] = False
        create(server, manifest)

        def pods() -> list[Object]:
            found = server.get("pods", LAB, "--selector=job-name=making")["items"]
            return list(found)

        wait_until(lambda: len(pods()) == 1, "the Job's pod", seconds=20)
        (made,) = pods()
        assert made["spec"]["schedulingGates"] == [{"name": "kubeqpu.io/qpu"}]
        assert made["metadata"]["labels"]["kubeqpu.io/managed"] == "true"


def test_classes_that_select_nothing_ever_are_refused(server: APIServer, up: Webhooks) -> None:
    with pytest.raises(ClusterError, match=r"selector\.matchLabels\[tier\]: 'a b' is no label"):
        server.apply(qpu_class("bad", tier="a b"))


def test_a_renewed_certificate_is_served_without_a_restart(server: APIServer, up: Webhooks) -> None:
    before = up.serial()
    up.renew()
    wait_until(lambda: up.serial() != before, "the renewed certificate", seconds=5)
    create(server, pod("renewed", ASKING), "--dry-run=server")


def called(server: APIServer) -> dict[str, int]:
    """How long the API server waited for answers about pods."""
    metric = "apiserver_admission_webhook_admission_duration_seconds_bucket"
    wanted = (metric, "pods.mutate", 'rejected="false"')
    return {
        line.split('le="')[1].split('"')[0]: int(line.split()[-1])
        for line in server.kubectl("get", "--raw=/metrics").splitlines()
        if all(part in line for part in wanted)
    }


@pytest.mark.timed
async def test_pods_are_hardly_slower(server: APIServer, up: Webhooks, tmp_path: Path) -> None:
    client = await config.new_client_from_config(config_file=str(server.cluster.kubeconfig))
    async with client:
        pods = ObjectsAPI(client, "test")

        async def measure(prefix: str, container: Object) -> list[float]:
            seconds = []
            for number in range(200):
                manifest = pod(f"{prefix}-{number}", container)
                began = time.perf_counter()
                await pods.create(PODS.within("lab"), manifest)
                seconds.append(time.perf_counter() - began)
            return seconds

        # Each try has pods and figures of its own.
        before, mark = called(server), uuid.uuid4().hex[:8]
        ordinary, asking = await measure(f"o-{mark}", IMAGE), await measure(f"a-{mark}", ASKING)
    buckets = {
        float(line.split('le="')[1].split('"')[0]): float(line.split()[-1])
        for line in up.metrics()
        if line.startswith("kubeqpu_webhooks_seconds_bucket") and 'verb="mutate"' in line
    }
    p99 = min(limit for limit, count in buckets.items() if count >= 0.99 * max(buckets.values()))
    medians = [1000 * statistics.median(values) for values in (ordinary, asking)]
    print(f"medians in ms, ordinary and asking: {medians}; own mutation: p99 <= {1000 * p99:g}")
    answers = {limit: count - before.get(limit, 0) for limit, count in called(server).items()}
    print(f"calls by the API server, by upper bound in seconds: {answers}")
    assert p99 <= 0.02
    assert answers["0.025"] >= 0.95 * answers["+Inf"]
