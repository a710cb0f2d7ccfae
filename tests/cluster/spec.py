"""What a cluster is asked to be: plain data, checked once."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from tests.cluster.errors import ClusterError

DEFAULT_NAME = "kubeqpu"
MAX_NODES = 20  # node addresses are .11 to .30 of the cluster's own /24


class Addon(StrEnum):
    """What can be installed on top of a bare cluster."""

    COREDNS = "coredns"
    KUEUE = "kueue"
    ARGO = "argo"
    PROMETHEUS = "prometheus"
    POSTGRESQL = "postgresql"


# These run as pods; the others are processes beside the control plane.
POD_ADDONS = frozenset({Addon.COREDNS, Addon.KUEUE, Addon.ARGO})


@dataclass(frozen=True)
class ClusterSpec:
    """A cluster's name, its number of nodes (0: control plane only) and its add-ons."""

    name: str = DEFAULT_NAME
    nodes: int = 2
    addons: tuple[Addon, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what could not work.

        Raises:
            ClusterError: the name is no DNS label, the number of nodes is out of range, or an
                add-on that runs as pods was asked for without nodes.
        """
        if not re.fullmatch(r"[a-z]([a-z0-9-]{0,28}[a-z0-9])?", self.name) or self.name == "cache":
            raise ClusterError(
                f"cluster name {self.name!r} is not usable: use at most 30 lower-case letters, "
                "digits and dashes, beginning with a letter (and not 'cache')"
            )
        if not 0 <= self.nodes <= MAX_NODES:
            raise ClusterError(f"{self.nodes} nodes asked for: from 0 to {MAX_NODES} can be run")
        homeless = [addon for addon in self.addons if addon in POD_ADDONS]
        if self.nodes == 0 and homeless:
            raise ClusterError(
                f"{', '.join(homeless)} run as pods, and a control plane alone has no nodes: "
                "ask for at least one node"
            )

    @property
    def node_names(self) -> tuple[str, ...]:
        """The Node objects' names."""
        return tuple(f"node-{index}" for index in range(1, self.nodes + 1))


def parse_addons(text: str) -> tuple[Addon, ...]:
    """Read a comma-separated list of add-ons, in the order in which they are installed.

    Raises:
        ClusterError: a name is unknown.
    """
    names = {name.strip() for name in text.split(",") if name.strip()}
    if unknown := names - set(Addon):
        raise ClusterError(f"unknown add-on {', '.join(sorted(unknown))}: there are {known()}")
    return ordered(Addon(name) for name in names)


def ordered(addons: Iterable[Addon]) -> tuple[Addon, ...]:
    """Add-ons without repetition, in the order in which they are installed."""
    wanted = set(addons)
    return tuple(addon for addon in Addon if addon in wanted)


def known() -> str:
    """The names of the add-ons, for a message."""
    return ", ".join(Addon)


def merge(running: ClusterSpec | None, asked: ClusterSpec) -> ClusterSpec:
    """What ``up`` makes of a cluster that is there already: it grows, it never shrinks.

    Raises:
        ClusterError: it would have to lose nodes, or to gain its first.
    """
    if running is None:
        return asked
    if (running.nodes == 0) != (asked.nodes == 0) or asked.nodes < running.nodes:
        raise ClusterError(
            f"cluster {asked.name!r} is there with {running.nodes} nodes and cannot become one "
            f"with {asked.nodes}: run 'down' first, or choose another --name"
        )
    return ClusterSpec(asked.name, asked.nodes, ordered(running.addons + asked.addons))
