"""A gateway of the chart on PostgreSQL: no volume, and no job lost with its pod."""

import time
from collections.abc import Iterator

import pytest

from tests.cluster.addons import postgresql
from tests.cluster.shell import wait_until
from tests.e2e.release import GATEWAY_POD, NAMESPACE, Release, Tenant, released
from tests.e2e.testbed import E2ECluster, apply, read

pytestmark = pytest.mark.timeout(600)

SECRET = "kubeqpu-db"
ON_POSTGRESQL = f"--set=gatewayDefaults.postgresql.urlSecret={SECRET}"
TENANT = "e2e-database"


@pytest.fixture(scope="module")
def release(testbed: E2ECluster) -> Iterator[Release]:
    if testbed.own is None:
        pytest.skip("needs the PostgreSQL that the cluster of this repository brings")
    with released(testbed) as found:
        make_secret(found, postgresql.url(testbed.own))
        yield found


def make_secret(release: Release, url: str) -> None:
    metadata = {"name": SECRET, "namespace": NAMESPACE}
    apply(
        release.testbed,
        {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"url": url}},
    )


def test_a_pod_that_is_replaced_keeps_its_jobs_without_a_volume(
    release: Release, testbed: E2ECluster
) -> None:
    release.install(ON_POSTGRESQL)
    assert not release.kubectl("get", "persistentvolumeclaims", "--output=name").strip()
    apply(testbed, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": TENANT}})
    tenant = Tenant(release, TENANT, testbed.provide("cutting"))
    tenant.permit()
    ids = tenant.submit("aer", jobs=20, entries=200)
    release.kubectl("delete", "pod", GATEWAY_POD, "--grace-period=0", "--force")
    found = tenant.read(ids)
    shots = {name: [sum(row.values()) for row in rows] for name, rows in found.items()}
    assert shots == {name: [1000] * 200 for name in ids}
    testbed.kubectl("delete", "namespace", TENANT, "--wait=false")


def test_a_wrong_url_is_told_in_the_pods_status_without_its_password(release: Release) -> None:
    make_secret(release, "mysql://kubeqpu:correct-horse@db/kubeqpu")
    release.kubectl("delete", "pod", GATEWAY_POD)

    def message() -> str:
        items = read(release.testbed, "pods", f"--namespace={NAMESPACE}")["items"]
        (pod,) = (item for item in items if item["metadata"]["name"] == GATEWAY_POD)
        (status,) = pod["status"].get("containerStatuses", [{}])
        for state in (status.get("state", {}), status.get("lastState", {})):
            if "terminated" in state:
                return str(state["terminated"].get("message", ""))
        return ""

    def told() -> bool:
        try:
            return bool(message())
        except ValueError:  # the new pod is not there yet
            return False

    started = time.monotonic()
    wait_until(told, "the gateway to end", seconds=60, every=0.5)
    print(f"told after {time.monotonic() - started:.1f} s: {message()}")
    assert "postgresql://" in message()
    assert "correct-horse" not in message()
