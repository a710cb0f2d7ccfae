"""The cgroups of a cluster and of its nodes, in version 1, hybrid and version 2 alike.

Whatever runs on a node, down to a container's last child, is in the node's cgroup: that is how
it can be frozen, and how nothing of it is left when it ends.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.errors import ClusterError
from tests.cluster.processes import Process, send, start_ticks

ROOT = Path("/sys/fs/cgroup")
NAMESPACED = ("cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids",
              "hugetlb", "net_cls", "net_prio", "perf_event", "systemd", "unified")  # fmt: skip
CONTROLLERS = "+cpuset +cpu +io +memory +hugetlb +pids"


@dataclass(frozen=True)
class Cgroup:
    """One cgroup, by its path below each hierarchy's root."""

    path: str

    def child(self, name: str) -> Cgroup:
        """A cgroup in this one."""
        return Cgroup(f"{self.path}/{name}")

    @property
    def folders(self) -> list[Path]:
        """Its folder in every hierarchy."""
        return [hierarchy / self.path.lstrip("/") for hierarchy in hierarchies()]

    @property
    def tracking(self) -> Path:
        """Its folder in the hierarchy that processes are counted and found by."""
        return tracking_hierarchy() / self.path.lstrip("/")


def of_cluster(octet: int) -> Cgroup:
    """The cgroup that everything of a cluster with nodes is in."""
    return Cgroup(f"/kubeqpu-{octet}")


def unified() -> bool:
    """Whether this machine has cgroup version 2 only."""
    return (ROOT / "cgroup.controllers").exists()


def hierarchies() -> list[Path]:
    """The roots of the hierarchies that containers are put into."""
    if unified():
        return [ROOT]
    paths = {(ROOT / name).resolve() for name in NAMESPACED if (ROOT / name).is_dir()}
    return sorted(paths)


def tracking_hierarchy() -> Path:
    """The hierarchy in which a node's processes are looked for.

    Raises:
        ClusterError: there is none that containers are sure to be in.
    """
    if unified():
        return ROOT
    if (ROOT / "pids").is_dir():
        return ROOT / "pids"
    raise ClusterError(f"no pids controller is mounted at {ROOT}/pids: nodes need one")


def make(group: Cgroup) -> None:
    """Make a cgroup in every hierarchy, ready for processes and for children."""
    for folder in group.folders:
        folder.mkdir(parents=True, exist_ok=True)
        if folder.is_relative_to(ROOT / "cpuset"):
            inherit_cpuset(folder)
    if unified():
        for folder in [*reversed(group.folders[0].parents), group.folders[0]]:
            if folder.is_relative_to(ROOT):
                enable_controllers(folder)


def inherit_cpuset(folder: Path) -> None:
    """Give a new version 1 cpuset its parents' processors: empty, it admits no process."""
    top = ROOT / "cpuset"
    chain = [path for path in [*reversed(folder.parents), folder] if path.is_relative_to(top)]
    for parent, path in itertools.pairwise(chain):
        for name in ("cpuset.cpus", "cpuset.mems"):
            if not (path / name).read_text().strip():
                (path / name).write_text((parent / name).read_text())


def enable_controllers(folder: Path) -> None:
    """Hand a version 2 cgroup's controllers on to its children, one at a time."""
    for controller in CONTROLLERS.split():
        with contextlib.suppress(OSError):  # not every kernel has every one
            (folder / "cgroup.subtree_control").write_text(controller)


def processes(group: Cgroup) -> list[Process]:
    """Every process in a cgroup or below it."""
    name = f"a process of {group.path}"
    found: list[Process] = []
    top = group.tracking
    for folder, _, _ in os.walk(top):
        try:
            pids = [int(line) for line in (Path(folder) / "cgroup.procs").read_text().split()]
        except OSError:  # gone since it was listed
            continue
        found += [Process(name, pid, ticks) for pid in pids if (ticks := start_ticks(pid))]
    return found


def signal_all(group: Cgroup, number: signal.Signals) -> int:
    """Signal every process in a cgroup, also those born meanwhile; how many there were."""
    reached: set[Process] = set()
    for _ in range(50):
        fresh = [process for process in processes(group) if process not in reached]
        if not fresh:
            break
        for process in fresh:
            send(process, number)
        reached.update(fresh)
    return len(reached)


def remove(group: Cgroup, *, seconds: float = 30) -> None:
    """End what is left in a cgroup and remove it.

    Raises:
        ClusterError: it does not become empty.
    """
    deadline = time.monotonic() + seconds
    while True:
        for process in processes(group):
            send(process, signal.SIGKILL)
        left = [folder for folder in group.folders if not remove_folder(folder)]
        if not left:
            return
        if time.monotonic() > deadline:
            raise ClusterError(f"cgroup {left[0]} does not become empty")
        time.sleep(0.05)


def remove_folder(top: Path) -> bool:
    """Remove a cgroup's folders from the innermost out; whether all are gone."""
    for folder, _, _ in os.walk(top, topdown=False):
        with contextlib.suppress(OSError):
            Path(folder).rmdir()
    return not top.exists()
