"""Fixtures of the tests that need an API server but no nodes."""

import base64
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from kubeqpu.common import api
from tests.cluster.requirements import missing
from tests.e2e.api_server.controller import ACCOUNT, NAMESPACE, Controller
from tests.e2e.api_server.server import SPEC, APIServer
from tools import chart, crds


@pytest.fixture(scope="session")
def server() -> Iterator[APIServer]:
    """An API server, up in seconds once its programs are built."""
    if lacking := missing(SPEC):
        reason = " ".join(str(item) for item in lacking)
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    made = APIServer()
    yield made
    made.close()


@pytest.fixture(scope="module")
def definitions(server: APIServer) -> Iterator[None]:
    """The CustomResourceDefinitions, as the models make them."""
    kinds = [crds.definition(kind) for kind in api.OBJECTS]
    server.apply(*kinds)
    names = [f"crd/{kind.resource.name}" for kind in api.OBJECTS]
    server.kubectl("wait", "--for=condition=Established", *names, "--timeout=30s")
    yield
    server.kubectl("delete", *names)


@pytest.fixture(scope="module")
def kubeconfig(server: APIServer) -> Iterator[str]:
    """The kubeconfig of the controller's account, with the chart's rights and Lease in place."""
    server.make_namespace(NAMESPACE)
    kinds = {"ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding", "Lease"}
    ours = [
        item
        for item in yaml.safe_load_all(chart.render())
        if item and item["kind"] in kinds and item["metadata"]["name"] == ACCOUNT
    ]
    assert {item["kind"] for item in ours} == kinds
    server.apply(*ours)
    token = server.kubectl("create", "token", ACCOUNT, f"--namespace={NAMESPACE}").strip()
    content = yaml.safe_load(server.cluster.kubeconfig.read_text())
    content["users"][0]["user"] = {"token": token}
    for entry in content["clusters"]:
        if path := entry["cluster"].pop("certificate-authority", None):
            data = base64.b64encode(Path(path).read_bytes()).decode()
            entry["cluster"]["certificate-authority-data"] = data
    yield yaml.safe_dump(content)
    for item in ours:
        where = f"--namespace={NAMESPACE}"
        server.kubectl("delete", item["kind"], ACCOUNT, where, "--ignore-not-found")


@pytest.fixture
def launch(
    kubeconfig: str, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Callable[[str], Controller]]:
    """Starts controllers that end with the test; those still alive end cleanly."""
    started: list[Controller] = []

    def start(name: str) -> Controller:
        started.append(Controller(kubeconfig, tmp_path / f"{name}.log", name))
        return started[-1]

    yield start
    codes = [one.end() for one in started if one.process.poll() is None]
    assert set(codes) <= {0}
