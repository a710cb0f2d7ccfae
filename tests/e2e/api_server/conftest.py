"""Fixtures of the tests that need an API server but no nodes."""

import os
from collections.abc import Iterator

import pytest

from kubeqpu.common import api
from tests.cluster.requirements import missing
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
    server.kubectl("delete", *names)
