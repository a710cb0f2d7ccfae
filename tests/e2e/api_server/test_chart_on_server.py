"""The chart on a real API server: install, rights, upgrade, uninstall, wrong values.

There are no nodes: pods are admitted and stay Pending.
"""

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from kubeqpu.common import api
from tests.cluster.errors import ClusterError
from tests.cluster.shell import wait_until
from tests.e2e.api_server.gateway import GATEWAY, register, renew_lease
from tests.e2e.api_server.server import APIServer
from tools import chart

NAMESPACE = chart.NAMESPACE
PLUGIN_NAMESPACE = "kubeqpu-device-plugin"
TLS_SECRET = "kubeqpu-gateway-default-tls"
DEFAULTS = ("kubeqpu", str(chart.CHART), f"--namespace={NAMESPACE}")
# Waiting for a namespace's end takes longer than most tests.
RELEASE = (*DEFAULTS, "--set=devicePlugin.createNamespace=false")
CONTROLLER = f"system:serviceaccount:{NAMESPACE}:kubeqpu-controller"
# kubectl itself would ask for a spec.
STATUS = ("--subresource=status", "--validate=false")
# Kinds of which a release may leave nothing behind.
KINDS = (
    "pods,services,statefulsets,deployments,configmaps,secrets,serviceaccounts,leases,"
    "persistentvolumeclaims,"
    "networkpolicies,poddisruptionbudgets,roles,rolebindings"
)


@pytest.fixture(scope="module", autouse=True)
def plugin_namespaces(server: APIServer) -> Iterator[None]:
    """Namespaces that tests here make, and that a release elsewhere would not make again."""
    yield
    for namespace in (PLUGIN_NAMESPACE, "quantum-nodes"):
        server.kubectl("delete", "namespace", namespace, "--ignore-not-found", "--timeout=60s")


@pytest.fixture
def release(server: APIServer) -> Iterator[APIServer]:
    """A release in a namespace that enforces `restricted`; its plugins' namespace was there."""
    labels = {"pod-security.kubernetes.io/enforce": "privileged"}
    metadata = {"name": PLUGIN_NAMESPACE, "labels": labels}
    server.await_deletions()
    server.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
    yield from install(server, *RELEASE)


@pytest.fixture
def default_release(server: APIServer) -> Iterator[APIServer]:
    """A release with the default values."""
    server.kubectl("delete", "namespace", PLUGIN_NAMESPACE, "--ignore-not-found", "--timeout=60s")
    yield from install(server, *DEFAULTS)


def install(server: APIServer, *flags: str) -> Iterator[APIServer]:
    server.make_namespace(NAMESPACE)
    server.helm("install", *flags)
    yield server
    server.remove_release()


def names(server: APIServer, kinds: str, *options: str) -> list[str]:
    return server.kubectl("get", kinds, "--output=name", *options).split()


@pytest.mark.parametrize("values", chart.values_files(), ids=lambda path: path.stem)
def test_every_object_is_accepted(server: APIServer, values: Path) -> None:
    server.make_namespace(NAMESPACE)
    objects = [item for item in yaml.safe_load_all(chart.render(values)) if item]
    # cert-manager's own kinds are not served here; a pod alone has no account before its hooks.
    ours = [
        item for item in objects
        if item["kind"] != "Pod" and not item["apiVersion"].startswith("cert-manager.io")
    ]  # fmt: skip
    assert len(ours) > 5
    # A dry run makes no namespace for the objects that come after it.
    own = [item for item in ours if item["kind"] == "Namespace"]
    for item in own:
        server.apply(item)
    server.apply(*ours, options=("--dry-run=server",))


def test_its_pods_are_admitted_under_restricted(release: APIServer) -> None:
    def made() -> bool:
        found = names(release, "pods", f"--namespace={NAMESPACE}")
        return len(found) == 4

    wait_until(made, "the gateway's, the controller's and two schedulers' pods", seconds=90)


def test_every_pod_template_is_admitted_under_restricted(release: APIServer) -> None:
    for values in chart.values_files():
        for item in yaml.safe_load_all(chart.render(values)):
            if item is None or item["kind"] not in {"StatefulSet", "Deployment", "Job", "Pod"}:
                continue
            template = item if item["kind"] == "Pod" else item["spec"]["template"]
            metadata = {"name": "admitted", "namespace": NAMESPACE}
            spec = {**template["spec"], "serviceAccountName": "default"}
            pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
            release.apply(pod, options=("--dry-run=server",))


def test_device_plugins_are_admitted_in_their_own_namespace_only(
    default_release: APIServer,
) -> None:
    release = default_release
    daemons = release.get("daemonset", "kubeqpu-device-plugin", f"--namespace={PLUGIN_NAMESPACE}")
    spec = daemons["spec"]["template"]["spec"]
    for namespace in (PLUGIN_NAMESPACE, NAMESPACE):
        account = {**spec, "serviceAccountName": "default", "serviceAccount": "default"}
        pod = {"apiVersion": "v1", "kind": "Pod", "spec": account,
               "metadata": {"name": "admitted", "namespace": namespace}}  # fmt: skip
        if namespace == PLUGIN_NAMESPACE:
            release.apply(pod, options=("--dry-run=server",))
        else:
            with pytest.raises(ClusterError, match="violates PodSecurity"):
                release.apply(pod, options=("--dry-run=server",))


def test_device_plugins_know_the_authority_that_signed_the_gateways(release: APIServer) -> None:
    def authorities() -> set[str]:
        config_map = release.get(
            "configmap", "kubeqpu-device-plugin-ca", f"--namespace={PLUGIN_NAMESPACE}"
        )
        secret = release.get("secret", TLS_SECRET, f"--namespace={NAMESPACE}")
        signer = release.get("secret", "kubeqpu-ca", f"--namespace={NAMESPACE}")
        assert set(config_map["data"]) == {"ca.crt"}
        return {
            config_map["data"]["ca.crt"],
            base64.b64decode(secret["data"]["ca.crt"]).decode(),
            base64.b64decode(signer["data"]["tls.crt"]).decode(),
        }

    (before,) = authorities()
    release.helm("upgrade", *RELEASE)
    assert authorities() == {before}
    # Signed anew, they know the new one.
    release.kubectl("delete", "secret", "kubeqpu-ca", f"--namespace={NAMESPACE}")
    release.helm("upgrade", *RELEASE)
    (after,) = authorities()
    assert after != before


def test_device_plugins_have_no_right(release: APIServer) -> None:
    account = f"system:serviceaccount:{PLUGIN_NAMESPACE}:kubeqpu-device-plugin"
    for verb, kind in (("list", "pods"), ("get", "nodes"), ("list", "secrets"), ("patch", "qpus")):
        with pytest.raises(ClusterError):
            release.kubectl("auth", "can-i", verb, kind, "--all-namespaces", f"--as={account}")


def test_a_gateway_may_do_its_work_and_no_more(release: APIServer) -> None:
    register(release, "aer", "aer")
    renew_lease(release, "aer")
    status = {"status": {"numQubits": 30}}
    head = {"apiVersion": api.API_VERSION, "kind": "QPU", "metadata": {"name": "aer"}}
    release.apply({**head, **status}, user=GATEWAY, options=STATUS)
    foreign = api.QPU(metadata=api.ObjectMeta(name="other"), spec=api.QPUSpec(provider="ibm"))
    release.apply(foreign.to_manifest())
    patch = ("--type=merge", '--patch={"spec":{"slots":9}}')
    for refused in (
        ("patch", "qpu", "other", *patch),
        ("delete", "qpu", "aer"),
        ("get", "secrets", f"--namespace={NAMESPACE}"),
        ("get", "clusterrole", "cluster-admin"),
        ("get", "lease", "kubeqpu-controller", f"--namespace={NAMESPACE}"),
    ):
        with pytest.raises(ClusterError, match="is forbidden"):
            release.kubectl(*refused, user=GATEWAY)
    for kind in ("tokenreviews.authentication.k8s.io", "subjectaccessreviews.authorization.k8s.io"):
        assert release.kubectl("auth", "can-i", "create", kind, user=GATEWAY).strip() == "yes"


def test_the_controller_may_do_its_work_and_no_more(release: APIServer) -> None:
    register(release, "aer", "aer")
    condition = {
        "type": "Ready", "status": "Unknown", "reason": "GatewaySilent", "message": "",
        "lastTransitionTime": "2026-11-23T12:00:00Z",
    }  # fmt: skip
    head = {"apiVersion": api.API_VERSION, "kind": "QPU", "metadata": {"name": "aer"}}
    status = {**head, "status": {"conditions": [condition]}}
    release.apply(status, user=CONTROLLER, options=STATUS)
    standard = api.QPUClass(metadata=api.ObjectMeta(name="standard"), spec=api.QPUClassSpec())
    release.kubectl("create", "--filename=-", text=yaml.safe_dump(standard.to_manifest()),
                    user=CONTROLLER)  # fmt: skip
    with pytest.raises(ClusterError, match="is forbidden"):
        release.kubectl("delete", "qpu", "aer", user=CONTROLLER)


def test_users_run_circuits_as_their_namespace_and_on_what_they_may(release: APIServer) -> None:
    release.make_namespace("tenant")
    for account, role in (("every", "kubeqpu-user"), ("one", "kubeqpu-qpu-aer")):
        release.kubectl(
            "create", "rolebinding", account, f"--clusterrole={role}",
            f"--serviceaccount=tenant:{account}", "--namespace=tenant",
        )  # fmt: skip

    def may(account: str, qpu: str, namespace: str) -> bool:
        question = ("create", f"qpus/{qpu}", "--subresource=jobs", f"--namespace={namespace}")
        user = f"system:serviceaccount:tenant:{account}"
        try:
            answer = release.kubectl("auth", "can-i", *question, user=user)
        except ClusterError:
            return False
        return answer.strip() == "yes"

    assert may("every", "aer", "tenant")
    assert may("every", "fake-fez", "tenant")
    assert not may("every", "aer", NAMESPACE)
    assert may("one", "aer", "tenant")
    assert not may("one", "fake-fez", "tenant")
    user = "system:serviceaccount:tenant:one"
    release.kubectl("get", "qpus,qpuclasses", user=user)
    release.kubectl("delete", "namespace", "tenant", "--wait=false")


def test_an_upgrade_keeps_certificates_and_drops_qpus_that_left(release: APIServer) -> None:
    register(release, "aer", "aer")
    register(release, "fake-fez", "fake")

    def certificates() -> list[dict[str, str]]:
        found = ("kubeqpu-ca", "kubeqpu-gateway-default-tls")
        return [release.get("secret", name, f"--namespace={NAMESPACE}")["data"] for name in found]

    before = certificates()
    release.helm("upgrade", *RELEASE, "--set=gateways.lab.qpus.spare.provider=aer",
                 "--set=gateways.default.qpus.fake-fez=null")  # fmt: skip
    assert certificates() == before
    lab = release.get("secret", "kubeqpu-gateway-lab-tls", f"--namespace={NAMESPACE}")["data"]
    assert lab["ca.crt"] == before[0]["tls.crt"]
    wait_until(lambda: names(release, "qpus") == ["qpu.kubeqpu.io/aer"], "the QPU to be collected",
               seconds=60)  # fmt: skip


def test_an_uninstall_leaves_kept_definitions_and_nothing_else(
    default_release: APIServer,
) -> None:
    release = default_release
    register(release, "aer", "aer")
    renew_lease(release, "aer")
    release.helm("uninstall", "kubeqpu", f"--namespace={NAMESPACE}")

    def left() -> list[str]:
        cluster_wide = names(release, "namespaces,clusterroles,clusterrolebindings,qpus")
        found = names(release, KINDS, f"--namespace={NAMESPACE}")
        return [name for name in cluster_wide + found if "kubeqpu" in name]

    wait_until(lambda: not left(), "everything to be collected", seconds=60)
    kept = [name for name in names(release, "crds") if "kubeqpu.io" in name]
    assert len(kept) == len(api.OBJECTS)
    release.helm("install", *DEFAULTS)


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ("gateway.replicas=1", "additional properties 'gateway' not allowed"),
        ("gateways.default.qpus.aer.slots=0", "minimum: got 0, want 1"),
        ("gateways.default.qpus.aer.credentialsSecret=missing", "Create it first"),
        ("gateways.default.qpus.aer.provider=null", "missing property 'provider'"),
        ("gateways.default.replicas=2", "SQLite allows one"),
    ],
)
def test_wrong_values_change_nothing_and_say_what_to_do(
    release: APIServer, setting: str, reason: str
) -> None:
    with pytest.raises(ClusterError, match=reason):
        release.helm("upgrade", *RELEASE, f"--set={setting}")
    history = release.helm("history", "kubeqpu", f"--namespace={NAMESPACE}", "--output=yaml")
    assert len(yaml.safe_load(history)) == 1
