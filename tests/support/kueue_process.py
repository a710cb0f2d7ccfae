"""The real Kueue outside of a pod, for control planes without nodes.

Its chart is applied as it is, but for where the API server finds its webhooks: at a process of this
machine. So pods, Jobs and Workloads are defaulted, validated, queued and admitted as they are in a
cluster, and only nothing runs.
"""

import base64
import json
import os
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import trustme
import yaml

from tests.cluster import programs
from tests.cluster.addons.kueue import NAMESPACE, admits
from tests.cluster.builder import Builder
from tests.cluster.cluster import Cluster
from tests.cluster.shell import run, wait_until
from tools import chart

Object = dict[str, Any]

# Serving metrics wants certificates at a fixed place: a tmpfs over /etc, for this process alone.
_SANDBOX = """
set -e
cert=$1; shift
mount -t tmpfs tmpfs /etc
mkdir -p /etc/kueue/metrics/certs && cp "$cert"/tls.* /etc/kueue/metrics/certs/
exec "$@"
"""
_WEBHOOKS = ("MutatingWebhookConfiguration", "ValidatingWebhookConfiguration")
_SKIPPED = ("Deployment", "Service", "APIService", "Secret", "ConfigMap")


def render() -> list[Object]:
    """Renders Kueue's chart with its CRDs."""
    builder = Builder(print)
    builder.build([programs.KUEUE])
    folder = builder.folder(programs.KUEUE) / "kueue"
    command = [
        chart.find_program(programs.HELM), "template", "kueue", str(folder), "--include-crds",
        f"--namespace={NAMESPACE}", f"--kube-version={programs.KUBERNETES_VERSION}",
    ]  # fmt: skip
    return [item for item in yaml.safe_load_all(run(command)) if item]


def _locate(client: Object, port: int, authority: trustme.CA) -> Object:
    path = client["service"].get("path", "/")
    bundle = base64.b64encode(authority.cert_pem.bytes()).decode()
    return {"url": f"https://127.0.0.1:{port}{path}", "caBundle": bundle}


def _redirect(item: Object, port: int, authority: trustme.CA) -> Object:
    """Has the API server call a port of this machine where it would call Kueue's Service."""
    if item["kind"] in _WEBHOOKS:
        for webhook in item["webhooks"]:
            webhook["clientConfig"] = _locate(webhook["clientConfig"], port, authority)
    elif item["kind"] == "CustomResourceDefinition":
        conversion = item["spec"].get("conversion", {}).get("webhook")
        if conversion:
            conversion["clientConfig"] = _locate(conversion["clientConfig"], port, authority)
    return item


def _configure(rendered: list[Object], port: int, certificates: Path, options: Object) -> Object:
    """Gives the chart's own configuration with what differs outside of a pod."""
    texts = [item["data"] for item in rendered if item["kind"] == "ConfigMap"]
    [text] = [found["controller_manager_config.yaml"] for found in texts]
    configuration: Object = yaml.safe_load(text)
    return configuration | {
        "namespace": NAMESPACE,
        "health": {"healthProbeBindAddress": "0"},
        "metrics": {"bindAddress": "0"},
        "webhook": {"host": "127.0.0.1", "port": port, "certDir": str(certificates)},
        "leaderElection": {"leaderElect": False},
        "internalCertManagement": {"enable": False},
        # Its aggregated API needs a Service.
        "featureGates": {"VisibilityOnDemand": False},
        **options,
    }


def _find_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


class KueueProcess:
    """Kueue's manager, which may end and start again.

    Args:
        cluster: The control plane; Kueue's objects are applied to it.
        folder: For its files.
        options: Fields of Kueue's configuration that replace those of the chart.
    """

    def __init__(self, cluster: Cluster, folder: Path, options: Object | None = None) -> None:
        self._cluster = cluster
        self._log = folder / "kueue.log"
        authority, port = trustme.CA(), _find_port()
        issued = authority.issue_cert("127.0.0.1")
        (folder / "tls.key").write_bytes(issued.private_key_pem.bytes())
        (folder / "tls.crt").write_bytes(issued.cert_chain_pems[0].bytes())
        rendered = render()
        configuration = folder / "kueue.json"
        configuration.write_text(json.dumps(_configure(rendered, port, folder, options or {})))
        manager = Builder(print).folder(programs.KUEUE) / "manager"
        self._command = [
            "unshare", "--mount", "sh", "-c", _SANDBOX, "sh", str(folder),
            str(manager), f"--config={configuration}", "--zap-log-level=1",
        ]  # fmt: skip
        cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
        self._objects = [
            _redirect(item, port, authority) for item in rendered if item["kind"] not in _SKIPPED
        ]
        crds = [item for item in self._objects if item["kind"] == "CustomResourceDefinition"]
        cluster.apply(*crds)
        names = [f"crd/{item['metadata']['name']}" for item in crds]
        cluster.kubectl("wait", "--for=condition=Established", *names, "--timeout=60s")
        # Webhooks last: nothing can be made while they are there and do not answer.
        others = [item for item in self._objects if item not in crds]
        cluster.apply(*(item for item in others if item["kind"] not in _WEBHOOKS))
        cluster.apply(*(item for item in others if item["kind"] in _WEBHOOKS))

    def start(self) -> None:
        """Starts the manager, and waits until its webhooks answer.

        Raises:
            ClusterError: If it ends, or does not answer in time.
        """
        inherited = {"PATH": os.environ["PATH"], "HOME": "/"}
        variables = {"KUBECONFIG": str(self._cluster.kubeconfig), **inherited}
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/",
                env=variables,
            )  # fmt: skip
        wait_until(
            lambda: admits(self._cluster),
            "Kueue's webhooks to answer",
            seconds=60,
            every=0.3,
            still_alive=lambda: None if self.process.poll() is None else self.read_log()[-2000:],
        )

    def stop(self) -> None:
        """Ends the manager."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def remove(self) -> None:
        """Removes Kueue's webhooks and kinds, as an uninstall does."""
        for kind in (*_WEBHOOKS, "CustomResourceDefinition"):
            found = [one["metadata"]["name"] for one in self._objects if one["kind"] == kind]
            self._cluster.kubectl("delete", kind, *found, "--ignore-not-found", seconds=120)

    def read_log(self) -> str:
        """Gives what it logged."""
        return self._log.read_text()


@contextmanager
def kueue_process(cluster: Cluster, options: Object | None = None) -> Iterator[KueueProcess]:
    """Runs Kueue while the context is open, and removes it afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        made = KueueProcess(cluster, Path(folder), options)
        try:
            made.start()
            yield made
        finally:
            # Finalizers need the manager.
            alive = made.process.poll() is None
            kinds = ("clusterqueues", "resourceflavors", "admissionchecks", "cohorts")
            for plural in kinds if alive else ():
                cluster.kubectl("delete", f"{plural}.kueue.x-k8s.io", "--all", "--timeout=20s")
            made.stop()
            made.remove()
