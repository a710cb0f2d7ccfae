"""A process of the webhooks as the chart runs it, and another webhook beside it."""

import base64
import json
import signal
import socket
import ssl
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import trustme
import yaml

from tests.cluster.shell import wait_until
from tests.e2e.api_server.controller import start
from tools import chart

ACCOUNT = "kubeqpu-webhooks"
SETTINGS = ("webhooks.enabled=true",)
CONFIGURATIONS = ("MutatingWebhookConfiguration", "ValidatingWebhookConfiguration")
QUEUE = "kueue.x-k8s.io/queue-name"
_DRAIN_SECONDS = 1


def find_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def client_config(authority: trustme.CA, port: int, path: str) -> dict[str, Any]:
    bundle = base64.b64encode(authority.cert_pem.bytes()).decode()
    return {"url": f"https://127.0.0.1:{port}{path}", "caBundle": bundle}


def configurations(authority: trustme.CA, port: int) -> list[dict[str, Any]]:
    """The chart's, with the address of a process of ours."""
    found = [
        item
        for item in yaml.safe_load_all(chart.render(settings=SETTINGS))
        if item and item["kind"] in CONFIGURATIONS
    ]
    assert len(found) == 2
    for webhook in (one for item in found for one in item["webhooks"]):
        path = webhook["clientConfig"]["service"]["path"]
        webhook["clientConfig"] = client_config(authority, port, path)
    return found


class Webhooks:
    """A process of the webhooks, which may end and start again at the same address."""

    def __init__(self, kubeconfig: str, folder: Path, authority: trustme.CA) -> None:
        self.port = find_port()
        self._kubeconfig, self._folder, self._authority = kubeconfig, folder, authority
        self._log = folder / "webhooks.log"
        self._running = False
        self.renew()

    def renew(self) -> None:
        """Writes another certificate, as cert-manager does."""
        issued = self._authority.issue_cert("127.0.0.1")
        for name, content in (
            ("tls.key", issued.private_key_pem.bytes()),
            ("tls.crt", issued.cert_chain_pems[0].bytes()),
            ("ca.crt", self._authority.cert_pem.bytes()),
        ):
            (self._folder / name).write_bytes(content)

    def start(self) -> None:
        environment = {
            "KUBEQPU_ADDRESS": "127.0.0.1",
            "KUBEQPU_PORT": str(self.port),
            "KUBEQPU_TLS_FOLDER": str(self._folder),
            "KUBEQPU_RELOAD_SECONDS": "0.2",
            "KUBEQPU_DRAIN_SECONDS": str(_DRAIN_SECONDS),
            "KUBEQPU_HEALTH_PORT": "0",
            "KUBEQPU_METRICS_PORT": "0",
        }
        self._process = start("webhooks", self._kubeconfig, self._log, environment)
        self._running = True
        wait_until(self.is_ready, "the webhooks to be ready", seconds=30)

    def stop(self) -> None:
        if self._running:
            self._process.send_signal(signal.SIGTERM)
            assert self._process.wait(timeout=20) == 0
            self._running = False

    def is_ready(self) -> bool:
        started = [item for item in self.events() if item["event"] == "Webhooks started"]
        return bool(started) and self.read(started[0]["health_port"], "/readyz") == "ok\n"

    def events(self) -> list[dict[str, Any]]:
        """What it logged since it started."""
        lines = self._log.read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def metrics(self) -> list[str]:
        started = next(item for item in self.events() if item["event"] == "Webhooks started")
        return self.read(started["metrics_port"], "/metrics").splitlines()

    def read(self, port: int, path: str) -> str:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
                return str(answer.read().decode())
        except OSError as error:
            return str(error)

    def serial(self) -> str:
        """The certificate that new connections get."""
        return ssl.get_server_certificate(("127.0.0.1", self.port))


@contextmanager
def giving_queues(authority: trustme.CA) -> Iterator[dict[str, Any]]:
    """Serves a webhook that gives pods a queue, as Kueue's does; gives its configuration.

    It is called after ours, and for pods in namespaces with the label `queued`.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            labels = review["request"]["object"]["metadata"].get("labels", {})
            value = {**labels, QUEUE: "default"}
            patch = json.dumps([{"op": "add", "path": "/metadata/labels", "value": value}])
            response = {
                "uid": review["request"]["uid"], "allowed": True, "patchType": "JSONPatch",
                "patch": base64.b64encode(patch.encode()).decode(),
            }  # fmt: skip
            head = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"}
            body = json.dumps({**head, "response": response}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": "kueue-stand-in"},
        "webhooks": [
            {
                "name": "queues.example.com",
                "admissionReviewVersions": ["v1"],
                "sideEffects": "None",
                "failurePolicy": "Fail",
                "namespaceSelector": {"matchLabels": {"queued": "true"}},
                "rules": [{"operations": ["CREATE"], "resources": ["pods"], "apiGroups": [""],
                           "apiVersions": ["v1"]}],
                "clientConfig": client_config(authority, server.server_port, "/"),
            }
        ],
    }  # fmt: skip
    server.shutdown()
    thread.join()
    server.server_close()
