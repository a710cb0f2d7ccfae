"""What a machine needs, and what to do when it lacks something."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.cluster import cgroups, images, programs
from tests.cluster.builder import Builder
from tests.cluster.errors import MissingError
from tests.cluster.nodeconfig import CNI_PROGRAMS
from tests.cluster.nodes import PATH
from tests.cluster.spec import Addon, ClusterSpec

INSTALL = "sudo tests/cluster/install-debian.sh"
KIND = (
    "the end-to-end tests run on any other cluster too, one made by kind for example: see "
    "docs/contributing/cluster.md"
)
NODE_PROGRAMS = ("containerd", "runc", "ctr", "iptables", "conntrack", "nsenter", "unshare",
                 "ip", "sysctl", "mkfs.ext4", "losetup")  # fmt: skip
CNI_PLUGINS = ("ptp", "host-local", "portmap", "loopback")
POSTGRESQL_PROGRAMS = Path("/usr/lib/postgresql")


@dataclass(frozen=True)
class Missing:
    """Something a machine lacks.

    Attributes:
        what: the thing.
        remedy: what to do about it, as an imperative.
    """

    what: str
    remedy: str

    def __str__(self) -> str:
        """One sentence."""
        return f"{self.what}: {self.remedy}."


def missing(spec: ClusterSpec) -> list[Missing]:
    """What this machine lacks for a cluster, the most fundamental first."""
    found: list[Missing] = []
    if not sys.platform.startswith("linux"):
        return [Missing("this is not Linux", f"use another cluster ({KIND})")]
    found += missing_programs(spec)
    if spec.nodes:
        found += missing_rights()
    return found


def missing_rights() -> list[Missing]:
    """What only root has, and what only some kernels have."""
    if os.geteuid() != 0:
        remedy = f"run as root, or with --control-plane-only, which needs no rights; {KIND}"
        return [Missing("nodes are made of namespaces, mounts and cgroups", remedy)]
    found = []
    if not Path("/dev/loop-control").exists():
        found.append(Missing("there are no loop devices for the nodes' disks",
                             f"load the kernel module 'loop'; {KIND}"))  # fmt: skip
    if not cgroups.unified() and not (cgroups.ROOT / "pids").is_dir():
        found.append(Missing("no cgroups are mounted at /sys/fs/cgroup", f"mount them; {KIND}"))
    return found


def missing_programs(spec: ClusterSpec) -> list[Missing]:
    """Programs that are neither installed nor built."""
    found = []
    builder = Builder(lambda _: None)
    unbuilt = [p for p in programs.needed(spec) if not builder.is_built(p)]
    if unbuilt and shutil.which("go") is None:
        names = ", ".join(program.name for program in unbuilt)
        remedy = "install Go 1.26 or later, or point KUBEQPU_CACHE_DIR to a cache that has them"
        found.append(Missing(f"{names} must be built and Go is not installed", remedy))
    if spec.nodes:
        absent = [name for name in NODE_PROGRAMS if shutil.which(name, path=PATH) is None]
        absent += [name for name in CNI_PLUGINS if not (Path(CNI_PROGRAMS) / name).exists()]
        unmade = [
            name for name in images.needed(spec)
            if not images.Images(builder, builder.report).is_made(name)
        ]  # fmt: skip
        if unmade and shutil.which("buildah") is None:
            absent.append("buildah")
        if absent:
            found.append(Missing(f"not installed: {', '.join(absent)}", f"run {INSTALL}"))
    if Addon.PROMETHEUS in spec.addons and shutil.which("prometheus") is None:
        found.append(Missing("Prometheus is not installed", f"run {INSTALL}"))
    if Addon.POSTGRESQL in spec.addons and not POSTGRESQL_PROGRAMS.is_dir():
        found.append(Missing("PostgreSQL is not installed", f"run {INSTALL}"))
    return found


def require(spec: ClusterSpec) -> None:
    """Refuse to begin what could not end well.

    Raises:
        MissingError: something is missing; the message has one sentence for each thing.
    """
    if found := missing(spec):
        raise MissingError("\n".join(str(one) for one in found))
