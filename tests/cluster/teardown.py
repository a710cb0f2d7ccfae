"""Ends and removes a cluster, from whatever is left of it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tests.cluster import cgroups, network, processes, state
from tests.cluster.errors import ClusterError
from tests.cluster.layout import Layout
from tests.cluster.network import Addresses
from tests.cluster.shell import wait_until


def tear_down(layout: Layout, owner: str) -> None:
    """Remove a cluster: processes, then what they held, then the files that tell of it.

    The files go last, so that a teardown that is interrupted can be called again.

    Raises:
        ClusterError: something could not be removed.
    """
    try:
        chosen = state.load(layout)
    except ClusterError:
        chosen = None
    # Without a state, or with one that cannot be read, the bridge tells the octet.
    octet = chosen.octet if chosen else octet_of(owner)
    # Nodes first: a killed kubelet cannot start anything anew while the rest ends.
    if octet is not None and not network.is_anothers(Addresses(octet), owner):
        cgroups.remove(cgroups.of_cluster(octet))
        end_all(layout)
        network.remove(Addresses(octet))
    else:
        end_all(layout)
    wait_until(lambda: not disks_in_use(layout.root), "the nodes' disks to be let go", seconds=30)
    state.remove(layout)


def end_all(layout: Layout) -> None:
    """End every recorded process; its data goes next, so there is nothing it could save."""
    left = processes.running(layout)
    for process in left:
        processes.end(process, grace_seconds=0)


def octet_of(owner: str) -> int | None:
    """The octet of the bridge that belongs to an owner, if there is one."""
    for link in network.ip_json("link", "show", "type", "bridge"):
        if link.get("ifalias") == owner:
            return int(str(link["ifname"]).removeprefix("kqpu"))
    return None


def disks_in_use(root: Path) -> list[str]:
    """The loop devices whose file is below a folder; the kernel lets go of them by and by."""
    return [
        path.parts[3]
        for path in Path("/sys/block").glob("loop*/loop/backing_file")
        if below(path, root)
    ]


def below(backing_file: Path, root: Path) -> bool:
    """Whether a loop device's file is below a folder."""
    try:
        return backing_file.read_text().startswith(f"{root}/")
    except OSError:  # let go since it was listed
        return False


def leftovers(layout: Layout, octet: int) -> list[str]:
    """What a cluster still has on this machine; nothing after a clean teardown."""
    addresses = Addresses(octet)
    found = [f"process {process.name}" for process in processes.running(layout)]
    found += [f"file {layout.root}"] if layout.root.exists() else []
    found += [f"loop device {name}" for name in disks_in_use(layout.root)]
    found += [
        f"link {link['ifname']}"
        for link in network.ip_json("link", "show")
        if str(link["ifname"]).startswith(addresses.bridge)
    ]
    found += [
        f"namespace {path.name}" for path in named(network.NAMESPACES, f"{addresses.bridge}-*")
    ]
    found += [
        f"route {route['dst']}"
        for route in network.ip_json("-4", "route", "show", "table", "all")
        if str(route["dst"]).startswith(f"10.{octet}.")
    ]
    found += [f"cgroup {folder}" for folder in cgroups.of_cluster(octet).folders if folder.exists()]
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    return found + [f"mount {line.split()[4]}" for line in mounts if f"{layout.root}/" in line]


def named(folder: Path, pattern: str) -> Iterable[Path]:
    """The entries of a folder that may not be there."""
    return sorted(folder.glob(pattern)) if folder.is_dir() else []
