"""A real API server with its controllers and no nodes, and Helm: pods are admitted, none runs."""

import json
import os
from pathlib import Path
from typing import Any

from kubeqpu.common import api
from tests.cluster.cluster import Cluster
from tests.cluster.programs import HELM
from tests.cluster.shell import run
from tests.cluster.spec import ClusterSpec
from tools import chart

SPEC = ClusterSpec("chart", nodes=0)


class APIServer:
    """The control plane, brought up when made."""

    def __init__(self) -> None:
        self.cluster = Cluster(SPEC.name)
        self.cluster.down()  # what an interrupted run left
        self.cluster.up(SPEC)

    def close(self) -> None:
        """Takes it down."""
        self.cluster.down()

    def kubectl(self, *arguments: str, text: str | None = None, user: str | None = None) -> str:
        """Runs kubectl, as the administrator or as someone else.

        Raises:
            ClusterError: If it fails; the message holds what it said.
        """
        who = (f"--as={user}",) if user else ()
        return self.cluster.kubectl(*who, *arguments, text=text)

    def apply(
        self,
        *documents: dict[str, Any],
        user: str | None = None,
        manager: str = "test",
        options: tuple[str, ...] = (),
    ) -> None:
        """Applies objects server-side, unknown fields refused."""
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(documents)})
        self.kubectl(
            "apply", "--server-side", "--validate=strict", f"--field-manager={manager}", *options,
            "--filename=-", text=text, user=user,
        )  # fmt: skip

    def get(self, *arguments: str) -> dict[str, Any]:
        """Gets objects."""
        return self.cluster.get(*arguments)

    def helm(self, *arguments: str | Path, hooks: bool = False) -> str:
        """Runs Helm; without the hooks of an uninstall, whose pods run nowhere, unless told so.

        An install takes the definitions over that an earlier test left.

        Raises:
            ClusterError: If it fails; the message holds what it said.
        """
        if "install" in arguments or "--install" in arguments:
            self.await_deletions()
            arguments += ("--take-ownership",)
        if "uninstall" in arguments and not hooks:
            arguments += ("--no-hooks",)
        environment = {**os.environ, "KUBECONFIG": str(self.cluster.kubeconfig)}
        command = [chart.find_program(HELM), *arguments]
        return run(command, environment=environment, seconds=120)

    def remove_release(self) -> None:
        """Uninstalls the chart, where it is installed, and deletes kubeqpu's objects.

        The definitions stay: an API server takes up to two minutes to delete one.
        """
        where = f"--namespace={chart.NAMESPACE}"
        self.helm("uninstall", "kubeqpu", where, "--ignore-not-found")
        self.delete_objects()

    def delete_objects(self) -> None:
        """Deletes all objects of kubeqpu's kinds."""
        kinds = ",".join(kind.resource.name for kind in api.OBJECTS)
        self.kubectl("delete", kinds, "--all", "--all-namespaces")

    def await_deletions(self) -> None:
        """Waits until the namespaces that earlier releases made are gone."""
        ending = self.kubectl(
            "get", "namespaces", "--field-selector=status.phase=Terminating", "--output=name"
        )
        for name in ending.split():
            self.kubectl("wait", "--for=delete", name, "--timeout=60s")

    def make_namespace(self, name: str) -> None:
        """Makes a namespace that enforces PodSecurity `restricted`, with its default account."""
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        metadata = {"name": name, "labels": labels}
        self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
        self.kubectl("wait", "--for=create", "serviceaccount/default", f"--namespace={name}")
