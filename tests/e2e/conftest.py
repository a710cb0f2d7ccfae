"""Fixtures of the end-to-end tests: one cluster per session, one namespace per test."""

import os
import re
import secrets
from collections.abc import Generator, Iterator

import pytest

from tests.cluster.errors import ClusterError
from tests.cluster.requirements import missing
from tests.e2e.testbed import SPEC, E2ECluster, GivenCluster, OwnCluster, apply, find_testbed

LOG_LINES = 40


@pytest.fixture(scope="session")
def testbed() -> Iterator[E2ECluster]:
    """A cluster with two nodes, DNS, Kueue and Argo."""
    if not os.environ.get("KUBECONFIG") and (lacking := missing(SPEC)):
        pytest.exit(
            "The end-to-end tests build a cluster on this machine, which lacks:\n  "
            + "\n  ".join(str(item) for item in lacking)
            + "\nOr use kind instead: see docs/contributing/cluster.md.",
            returncode=1,
        )
    found = find_testbed()
    yield found
    if isinstance(found, OwnCluster) and found.own and not os.environ.get("KUBEQPU_KEEP_CLUSTER"):
        found.own.down()


@pytest.fixture
def namespace(testbed: E2ECluster, request: pytest.FixtureRequest) -> Iterator[str]:
    """A namespace of the test's own, in which workflows may run and which is deleted after it."""
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name.removeprefix("test_").lower())[:45]
    # That of a try before may still be about to go.
    name = f"e2e-{name.strip('-')}-{secrets.token_hex(2)}"
    apply(
        testbed,
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}},
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": {"name": "workflows", "namespace": name},
            "roleRef": {
                "apiGroup": "rbac.authorization.k8s.io",
                "kind": "ClusterRole",
                "name": "workflow-executor",
            },
            "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": name}],
        },
    )
    testbed.kubectl(
        "wait", "--for=create", "serviceaccount/default", f"--namespace={name}", "--timeout=30s"
    )
    yield name
    testbed.kubectl("delete", "namespace", name, "--wait=false")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Adds what the cluster knows of the test's namespace to the report of a failure."""
    report = yield
    if report.when == "call" and report.failed and isinstance(item, pytest.Function):
        found, name = item.funcargs.get("testbed"), item.funcargs.get("namespace")
        if isinstance(found, OwnCluster | GivenCluster) and isinstance(name, str):
            report.sections.append(("cluster", describe_namespace(found, name)))
    return report


def describe_namespace(testbed: E2ECluster, namespace: str) -> str:
    """Collects pods, events and the ends of the logs of a namespace."""
    where = f"--namespace={namespace}"
    parts = []
    for title, command in (
        ("pods", ("get", "pods", "--output=wide", where)),
        ("workloads", ("get", "workloads", "--output=wide", where)),
        ("events", ("get", "events", "--sort-by=.lastTimestamp", where)),
    ):
        parts.append(f"-- {title}\n{_try(testbed, *command)}")
    for pod in _try(testbed, "get", "pods", "--output=name", where).split():
        tail = f"--tail={LOG_LINES}"
        logs = _try(testbed, "logs", pod, "--all-containers", "--prefix", tail, where)
        parts.append(f"-- logs of {pod}\n{logs}")
    return "\n".join(parts)


def _try(testbed: E2ECluster, *command: str) -> str:
    try:
        return testbed.kubectl(*command, seconds=20)
    except ClusterError as error:
        return str(error)
