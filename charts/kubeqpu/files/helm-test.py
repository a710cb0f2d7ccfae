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
from pathlib import Path

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
GATEWAY_AUTHORITY = "/etc/kubeqpu/tls/ca.crt"
API = "https://kubernetes.default.svc/apis/kubeqpu.io/v1alpha1/qpus"


def check_gateway(address: str) -> str:
    """Shakes hands over TLS; returns what is wrong, or nothing."""
    host, port = address.rsplit(":", 1)
    context = ssl.create_default_context(cafile=GATEWAY_AUTHORITY)
    context.set_alpn_protocols(["h2"])
    try:
        with (
            socket.create_connection((host, int(port)), timeout=5) as plain,
            context.wrap_socket(plain, server_hostname=host),
        ):
            return ""
    except OSError as error:
        return f"Gateway {address} does not answer over TLS: {error}."


def check_qpu(name: str) -> str:
    """Reads the QPU's Ready condition; returns what is wrong, or nothing."""
    context = ssl.create_default_context(cafile=str(ACCOUNT / "ca.crt"))
    token = (ACCOUNT / "token").read_text(encoding="ascii")
    request = urllib.request.Request(  # noqa: S310 - the address is a constant
        f"{API}/{name}", headers={"Authorization": f"Bearer {token}"}
    )
    try:
        with urllib.request.urlopen(request, context=context, timeout=5) as reply:  # noqa: S310
            found = json.load(reply)
    except OSError as error:
        return f"QPU {name} cannot be read: {error}."
    for condition in found.get("status", {}).get("conditions", []):
        if condition["type"] == "Ready":
            if condition["status"] == "True":
                return ""
            return f"QPU {name} is not Ready: {condition['reason']}: {condition['message']}"
    return f"QPU {name} has no Ready condition yet: its gateway has not reported."


def main(arguments: list[str]) -> int:
    """Repeats what fails until nothing does or time is up."""
    middle = arguments.index("--")
    deadline = time.monotonic() + float(arguments[0])
    wanted = [(check_gateway, address) for address in arguments[1:middle]]
    wanted += [(check_qpu, name) for name in arguments[middle + 1 :]]
    while True:
        problems = [problem for check, name in wanted if (problem := check(name))]
        if not problems or time.monotonic() > deadline:
            break
        time.sleep(1)
    print("\n".join(problems) or f"All {len(wanted)} gateways and QPUs are well.")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
