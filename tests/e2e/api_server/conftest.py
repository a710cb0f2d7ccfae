"""Fixtures of the tests that need an API server but no nodes."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kubeqpu.common import api
from tests.cluster.requirements import missing
from tests.e2e.api_server.controller import ACCOUNT, RIGHTS, Controller, acting_as
from tests.e2e.api_server.server import SPEC, APIServer
from tools import crds


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
    server.delete_objects()


@pytest.fixture(scope="module")
def kubeconfig(server: APIServer) -> Iterator[str]:
    """The kubeconfig of the controller's account, with the chart's rights and Lease in place."""
    with acting_as(server, ACCOUNT, RIGHTS | {"Lease"}) as content:
        yield content


@pytest.fixture
def launch_as(tmp_path: Path) -> Iterator[Callable[[str, str], Controller]]:
    """Starts controllers by name and kubeconfig, that end with the test."""
    started: list[Controller] = []

    def start(name: str, kubeconfig: str) -> Controller:
        started.append(Controller(kubeconfig, tmp_path / f"{name}.log", name))
        return started[-1]

    yield start
    codes = [one.end() for one in started if one.process.poll() is None]
    assert set(codes) <= {0}


@pytest.fixture
def launch(
    kubeconfig: str, launch_as: Callable[[str, str], Controller]
) -> Callable[[str], Controller]:
    """Starts controllers as the chart's account."""
    return lambda name: launch_as(name, kubeconfig)
