"""`helm test`: every gateway proves who it is, and every QPU becomes Ready.

Uses the standard library only. Arguments: seconds to wait at most, gateways as host:port, a word
`--`, names of QPUs.
"""

import json
import socket
import ssl
import sys
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Cluster:
    """Where things are in a pod.

    Attributes:
        account: Token and authority of the pod's ServiceAccount.
        authority: Who signs the gateways' certificates.
        qpus: Where the API server lists QPUs.
    """

    account: Path = Path("/var/run/secrets/kubernetes.io/serviceaccount")
    authority: Path = Path("/etc/kubeqpu/tls/ca.crt")
    qpus: str = "https://kubernetes.default.svc/apis/kubeqpu.io/v1alpha1/qpus"


def check_gateway(address: str, cluster: Cluster) -> str:
    """Shakes hands over TLS; returns what is wrong, or nothing."""
    host, port = address.rsplit(":", 1)
    try:
        context = ssl.create_default_context(cafile=str(cluster.authority))
        context.set_alpn_protocols(["h2"])
        with (
            socket.create_connection((host, int(port)), timeout=5) as plain,
            context.wrap_socket(plain, server_hostname=host),
        ):
            return ""
    except OSError as error:
        return f"Gateway {address} does not answer over TLS: {error}."


def check_qpu(name: str, cluster: Cluster) -> str:
    """Reads the QPU's Ready condition; returns what is wrong, or nothing."""
    try:
        context = ssl.create_default_context(cafile=str(cluster.account / "ca.crt"))
        token = (cluster.account / "token").read_text(encoding="ascii").strip()
        request = urllib.request.Request(  # noqa: S310 - the chart gives the address
            f"{cluster.qpus}/{name}", headers={"Authorization": f"Bearer {token}"}
        )
        with urllib.request.urlopen(request, context=context, timeout=5) as reply:  # noqa: S310
            found = json.load(reply)
    except OSError as error:
        return f"QPU {name} cannot be read: {error}."
    for condition in found.get("status", {}).get("conditions", []):
        if condition["type"] == "Ready":
            if condition["status"] == "True":
                return ""
            return f"QPU {name} is not Ready: {condition['reason']}: {condition['message']}"
    return f"QPU {name} has no Ready condition: its gateway has not reported yet."


def main(arguments: list[str], cluster: Cluster | None = None) -> int:
    """Repeats what fails until nothing does or time is up; returns 1 if something still does."""
    where = cluster or Cluster()
    middle = arguments.index("--")
    deadline = time.monotonic() + float(arguments[0])
    wanted = [(check_gateway, address) for address in arguments[1:middle]]
    wanted += [(check_qpu, name) for name in arguments[middle + 1 :]]
    while True:
        problems = [problem for check, name in wanted if (problem := check(name, where))]
        if not problems or time.monotonic() > deadline:
            break
        time.sleep(1)
    print("\n".join(problems) or f"All {len(wanted)} gateways and QPUs are well.")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
