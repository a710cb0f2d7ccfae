"""A release with webhooks on a real API server: certificates, and what happens without a node."""

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest

from kubeqpu.common import api
from tests.cluster.errors import ClusterError
from tests.cluster.shell import wait_until
from tests.e2e.api_server.asking import ASKING, ODD, pod
from tests.e2e.api_server.server import APIServer
from tests.e2e.api_server.webhooks import ACCOUNT, CONFIGURATIONS
from tools import chart

NAMESPACE = chart.NAMESPACE
WHERE = f"--namespace={NAMESPACE}"
RELEASE = (
    "kubeqpu", str(chart.CHART), WHERE, "--set=webhooks.enabled=true",
    "--set=devicePlugin.createNamespace=false,devicePlugin.caConfigMap=other",
)  # fmt: skip


@pytest.fixture
def release(server: APIServer) -> Iterator[APIServer]:
    server.await_deletions()
    server.make_namespace(NAMESPACE)
    for name in ("lab", "kubeqpu-device-plugin"):
        metadata = {"name": name}
        server.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
        server.kubectl("wait", "--for=create", "serviceaccount/default", f"--namespace={name}")
    server.helm("install", *RELEASE)
    yield server
    server.remove_release()
    server.kubectl("delete", "namespace", "lab", "kubeqpu-device-plugin", "--timeout=60s")


def certificate(server: APIServer) -> dict[str, str]:
    found: dict[str, str] = server.get("secret", f"{ACCOUNT}-tls", WHERE)["data"]
    return found


def bundles(server: APIServer) -> set[str]:
    """The authorities that the configurations name, and the one that signs for gateways."""
    webhooks: list[dict[str, Any]] = [
        webhook for kind in CONFIGURATIONS for webhook in server.get(kind, ACCOUNT)["webhooks"]
    ]
    authority = server.get("secret", "kubeqpu-ca", WHERE)["data"]["tls.crt"]
    return {authority, *(webhook["clientConfig"]["caBundle"] for webhook in webhooks)}


def create(server: APIServer, manifest: dict[str, Any]) -> None:
    server.kubectl("create", "--filename=-", "--dry-run=server", text=json.dumps(manifest))


def test_its_configurations_name_the_authority_that_signed_it(release: APIServer) -> None:
    before = certificate(release)
    assert bundles(release) == {before["ca.crt"]}
    assert b"BEGIN CERTIFICATE" in base64.b64decode(before["ca.crt"])
    release.helm("upgrade", *RELEASE)
    assert certificate(release) == before
    assert bundles(release) == {before["ca.crt"]}
    # Signed anew, all of them know the new one.
    release.kubectl("delete", "secret", "kubeqpu-ca", WHERE)
    release.helm("upgrade", *RELEASE)
    after = certificate(release)
    assert after["ca.crt"] != before["ca.crt"]
    assert bundles(release) == {after["ca.crt"]}


def test_its_pods_are_made_though_none_of_them_answers_yet(release: APIServer) -> None:
    def made() -> bool:
        selector = "--selector=app.kubernetes.io/component=webhooks"
        return len(release.get("pods", selector, WHERE)["items"]) == 2

    wait_until(made, "the webhooks' pods", seconds=30)
    for manifest in ODD:
        create(release, manifest)
    with pytest.raises(ClusterError, match=r"failed calling webhook.*pods\.mutate\.kubeqpu\.io"):
        create(release, pod("asking", ASKING))
    standard = api.QPUClass(metadata=api.ObjectMeta(name="standard"), spec=api.QPUClassSpec())
    release.apply(standard.to_manifest())


def test_an_uninstall_lets_everything_in_again(release: APIServer) -> None:
    release.helm("uninstall", "kubeqpu", WHERE, "--no-hooks")
    create(release, pod("asking", ASKING))
