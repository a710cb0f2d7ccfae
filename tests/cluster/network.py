"""A cluster's network: a bridge on the host, a network namespace per node, and routes.

Each cluster has a 10.<octet>.0.0/16 of its own. The bridge's name holds the octet, and the
kernel makes a link of one name only once: making the bridge is what claims the addresses.
"""

from __future__ import annotations

import ipaddress
import json
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cluster.errors import ClusterError
from tests.cluster.shell import run

OCTETS = range(100, 228)
NAMESPACES = Path("/run/netns")


@dataclass(frozen=True)
class Addresses:
    """The addresses and names that follow from an octet."""

    octet: int

    @property
    def bridge(self) -> str:
        """The bridge's name."""
        return f"kqpu{self.octet}"

    @property
    def host(self) -> str:
        """The host's address on the bridge: the API server's."""
        return f"10.{self.octet}.0.1"

    @property
    def cluster(self) -> str:
        """Everything: nodes, pods and services."""
        return f"10.{self.octet}.0.0/16"

    @property
    def pods(self) -> str:
        """A network that holds all nodes and pods, and no service."""
        return f"10.{self.octet}.0.0/17"

    @property
    def services(self) -> str:
        """The services' network."""
        return f"10.{self.octet}.128.0/17"

    @property
    def dns(self) -> str:
        """The cluster DNS service's address."""
        return f"10.{self.octet}.128.10"

    def node(self, index: int) -> str:
        """The address of the node with this number, from 1."""
        return f"10.{self.octet}.0.{10 + index}"

    def pods_of(self, index: int) -> str:
        """The network of a node's pods."""
        return f"10.{self.octet}.{index}.0/24"

    def namespace(self, index: int) -> str:
        """The name of a node's network namespace."""
        return f"{self.bridge}-node-{index}"

    def cable(self, index: int) -> str:
        """The name of the host's end of a node's link."""
        return f"{self.bridge}n{index}"


def ip(*arguments: str) -> str:
    """Run the ip command."""
    return run(["ip", *arguments])


def ip_json(*arguments: str) -> list[dict[str, Any]]:
    """Run the ip command and read its JSON."""
    parsed: list[dict[str, Any]] = json.loads(ip("-json", *arguments) or "[]")
    return parsed


def networks_in_use() -> list[ipaddress.IPv4Network]:
    """Every IPv4 network this host has an address or a route in, the default route aside."""
    texts = [
        f"{address['local']}/{address['prefixlen']}"
        for link in ip_json("-4", "address", "show")
        for address in link.get("addr_info", [])
    ]
    texts += [route["dst"] for route in ip_json("-4", "route", "show", "table", "all")]
    networks = []
    for text in texts:
        try:
            networks.append(ipaddress.IPv4Network(text, strict=False))
        except ValueError:  # "default" and the like
            continue
    return networks


def free_octets(used: Iterable[ipaddress.IPv4Network], preferred: int) -> list[int]:
    """The octets whose network overlaps none in use, beginning near the preferred one."""
    taken = list(used)
    start = preferred % len(OCTETS)
    turned = [*OCTETS[start:], *OCTETS[:start]]
    return [
        octet
        for octet in turned
        if not any(ipaddress.IPv4Network(Addresses(octet).cluster).overlaps(n) for n in taken)
    ]


def link_alias(name: str) -> str | None:
    """The alias of a link, "" if it has none; None if there is no such link."""
    for link in ip_json("link", "show"):
        if link["ifname"] == name:
            return str(link.get("ifalias", ""))
    return None


def is_anothers(addresses: Addresses, owner: str) -> bool:
    """Whether the bridge is there and is not this owner's.

    A bridge without an alias is one whose maker died, or is about to name it: look again.
    """
    alias = link_alias(addresses.bridge)
    if alias == "":
        time.sleep(1)
        alias = link_alias(addresses.bridge)
    return alias not in {None, "", owner}


def claim(addresses: Addresses, owner: str) -> bool:
    """Make the bridge, or find it made for this owner before; False if it is another's."""
    try:
        ip("link", "add", addresses.bridge, "type", "bridge")
    except ClusterError:
        if link_alias(addresses.bridge) is None:
            raise  # not because it is there, then
        if is_anothers(addresses, owner):
            return False
    ip("link", "set", addresses.bridge, "alias", owner)
    ip("address", "replace", f"{addresses.host}/24", "dev", addresses.bridge)
    ip("link", "set", addresses.bridge, "up")
    return True


def connect_node(addresses: Addresses, index: int) -> None:
    """Make a node's network namespace and link it to the bridge, as far as it is not yet."""
    namespace, cable = addresses.namespace(index), addresses.cable(index)
    make_namespace(NAMESPACES / namespace)
    if link_alias(cable) is None:
        ip("link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", namespace)
    ip("link", "set", cable, "master", addresses.bridge, "up")
    inside = ("-n", namespace)
    ip(*inside, "link", "set", "lo", "up")
    ip(*inside, "address", "replace", f"{addresses.node(index)}/24", "dev", "eth0")
    ip(*inside, "link", "set", "eth0", "up")
    ip(*inside, "route", "replace", "default", "via", addresses.host)
    # A node passes its pods' packets on. Set through the namespace, it changes nothing outside.
    run(["nsenter", f"--net={NAMESPACES / namespace}", "sysctl", "-qw", "net.ipv4.ip_forward=1"])
    ip("route", "replace", addresses.pods_of(index), "via", addresses.node(index),
       "dev", addresses.bridge)  # fmt: skip


def make_namespace(path: Path) -> None:
    """Make a network namespace unless it is there."""
    if path.exists() and path.stat().st_dev == path.parent.stat().st_dev:
        path.unlink()  # an empty file, the trace of one that a restart of the machine ended
    if not path.exists():
        ip("netns", "add", path.name)


def route_between_nodes(addresses: Addresses, nodes: int) -> None:
    """Tell every node where the other nodes' pods are: no packet goes through the host."""
    for here in range(1, nodes + 1):
        for there in range(1, nodes + 1):
            if here != there:
                ip("-n", addresses.namespace(here), "route", "replace",
                   addresses.pods_of(there), "via", addresses.node(there))  # fmt: skip


def cut(addresses: Addresses, index: int) -> None:
    """Pull a node's cable at the bridge: packets vanish, the node sees its link stay up."""
    ip("link", "set", addresses.cable(index), "nomaster")


def mend(addresses: Addresses, index: int) -> None:
    """Put a node's cable back."""
    ip("link", "set", addresses.cable(index), "master", addresses.bridge)


def remove(addresses: Addresses) -> None:
    """Take everything down again: namespaces, links and, with them, addresses and routes.

    The bridge goes last: as long as it is there, nobody else takes these names.
    """
    for link in ip_json("link", "show", "type", "veth"):
        if str(link["ifname"]).startswith(f"{addresses.bridge}n"):
            ip("link", "delete", link["ifname"])
    if NAMESPACES.is_dir():
        for path in sorted(NAMESPACES.glob(f"{addresses.bridge}-node-*")):
            ip("netns", "delete", path.name)
    if link_alias(addresses.bridge) is not None:
        ip("link", "delete", addresses.bridge)
