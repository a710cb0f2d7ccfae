"""The script of `helm test`, against a real API server and the certificates that the chart made."""

import asyncio
import base64
import importlib.util
import ssl
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from kubeqpu.common import api
from tests.e2e.api_server.server import APIServer
from tools import chart

NAMESPACE = chart.NAMESPACE
SCRIPT = chart.CHART / "files" / "helm-test.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("helm_test", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # A dataclass looks its own module up.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def release(server: APIServer) -> Iterator[APIServer]:
    server.make_namespace(NAMESPACE)
    server.helm("install", "kubeqpu", chart.CHART, f"--namespace={NAMESPACE}")
    yield server
    server.remove_release()


@pytest.fixture(scope="module")
def cluster(
    release: APIServer, script: ModuleType, tmp_path_factory: pytest.TempPathFactory
) -> Any:
    """Files as a pod has them."""
    folder: Path = tmp_path_factory.mktemp("pod")
    secret = release.get("secret", "kubeqpu-gateway-default-tls", f"--namespace={NAMESPACE}")
    for name, content in secret["data"].items():
        (folder / f"gateway-{name}").write_bytes(base64.b64decode(content))
    token = release.kubectl("create", "token", "default", f"--namespace={NAMESPACE}")
    (folder / "token").write_text(token)
    root = release.get("configmap", "kube-root-ca.crt", f"--namespace={NAMESPACE}")
    (folder / "ca.crt").write_text(root["data"]["ca.crt"])
    return script.Cluster(
        account=folder,
        authority=folder / "gateway-ca.crt",
        qpus=f"{release.cluster.control_plane.url}/apis/kubeqpu.io/v1alpha1/qpus",
    )


@pytest.fixture
def gateway(cluster: Any) -> Iterator[str]:
    """Something that serves TLS with the gateway's certificate; its address."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    folder = cluster.account
    context.load_cert_chain(folder / "gateway-tls.crt", folder / "gateway-tls.key")
    loop = asyncio.new_event_loop()

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    listening = loop.run_until_complete(asyncio.start_server(serve, "localhost", 0, ssl=context))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield f"localhost:{listening.sockets[0].getsockname()[1]}"
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    listening.close()
    loop.close()


def set_ready(server: APIServer, name: str, status: str) -> None:
    head = {"apiVersion": api.API_VERSION, "kind": "QPU", "metadata": {"name": name}}
    condition = {
        "type": "Ready", "status": status, "reason": "Outage", "message": "Back at noon.",
        "lastTransitionTime": "2026-11-23T12:00:00Z",
    }  # fmt: skip
    server.apply({**head, "spec": {"provider": "aer"}})
    server.apply({**head, "status": {"conditions": [condition]}},
                 options=("--subresource=status", "--validate=false"))  # fmt: skip


def test_all_is_well(
    release: APIServer, script: ModuleType, cluster: Any, gateway: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    set_ready(release, "well", "True")
    assert script.main(["0", gateway, "--", "well"], cluster) == 0
    assert capsys.readouterr().out == "All 2 gateways and QPUs are well.\n"


def test_it_says_what_is_not_well(
    release: APIServer, script: ModuleType, cluster: Any, gateway: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    set_ready(release, "ill", "False")
    port = gateway.rpartition(":")[2]
    # The certificate is not made out to an address.
    assert script.main(["0", f"127.0.0.1:{port}", "--", "ill", "absent"], cluster) == 1
    wrong_name, ill, absent = capsys.readouterr().out.splitlines()
    assert "does not answer over TLS" in wrong_name
    assert "certificate is not valid for '127.0.0.1'" in wrong_name
    assert ill == "QPU ill is not Ready: Outage: Back at noon."
    assert absent == "QPU absent cannot be read: HTTP Error 404: Not Found."
