"""What was chosen for a cluster, kept so that any later command can go on from it."""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import json
import os
import random
import shutil
import socket
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.cluster.errors import ClusterError
from tests.cluster.layout import Layout
from tests.cluster.spec import Addon, ClusterSpec

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

# Below the ports that Linux hands out to outgoing connections, which would collide now and then.
PORTS = range(20000, 32000)

# What this process chose and no server may listen on yet. A name like these exists once on the
# machine, and the kernel frees it with the process.
_claims = contextlib.ExitStack()
atexit.register(_claims.close)


@dataclass(frozen=True)
class ClusterState:
    """A cluster's specification and everything chosen for it.

    Attributes:
        spec: what it is asked to be.
        octet: the second number of its addresses, 10.<octet>.0.0/16; None without nodes.
        ports: the port of each server, by the server's name.
        boot: the run of the machine in which it was made.
    """

    spec: ClusterSpec
    octet: int | None = None
    ports: Mapping[str, int] = field(default_factory=dict)
    boot: str = ""


def boot() -> str:
    """What tells this run of the machine from all others."""
    return BOOT_ID.read_text().strip()


def save(layout: Layout, state: ClusterState) -> None:
    """Write the state so that a reader sees the old one or the new one."""
    layout.root.mkdir(parents=True, exist_ok=True)
    write(layout.state, json.dumps(asdict(state), indent=2) + "\n")


def load(layout: Layout) -> ClusterState | None:
    """Read the state; None when there is no cluster.

    Raises:
        ClusterError: the file is not one that this version wrote.
    """
    try:
        data = json.loads(layout.state.read_text())
        asked = data["spec"]
        addons = tuple(Addon(name) for name in asked["addons"])
        spec = ClusterSpec(asked["name"], asked["nodes"], addons)
        return ClusterState(spec, data["octet"], data["ports"], data["boot"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise ClusterError(
            f"{layout.state} cannot be read: run 'down' to clear this cluster away"
        ) from error


def write(path: Path, text: str, mode: int = 0o644) -> None:
    """Write a file whole: never half of it, also when we are killed here."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(text)
    draft.chmod(mode)
    draft.replace(path)


def free_port(address: str, taken: set[int], among: range = PORTS) -> int:
    """A port that nothing listens on at this address now, and that no other launcher chose.

    Raises:
        ClusterError: none was found.
    """
    for port in random.sample(among, min(200, len(among))):
        if port in taken:
            continue
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((address, port))
            _claim(port)
            return port
    raise ClusterError(f"no free port at {address} between {among.start} and {among.stop}")


def _claim(port: int) -> None:
    claim = socket.socket(socket.AF_UNIX)
    try:
        claim.bind(f"\0kubeqpu-test-cluster-port-{port}")
    except OSError:
        claim.close()
        raise
    _claims.enter_context(claim)


def choose_ports(addresses: Mapping[str, str], chosen: Mapping[str, int]) -> dict[str, int]:
    """A port for each server, by name and address; those already chosen stay."""
    ports = dict(chosen)
    for server, address in addresses.items():
        if server not in ports:
            ports[server] = free_port(address, set(ports.values()))
    return ports


@contextlib.contextmanager
def locked(layout: Layout) -> Iterator[None]:
    """Let one command at a time change a cluster; a second one waits.

    The kernel drops the lock when its holder dies, however it dies.
    """
    layout.lock.parent.mkdir(parents=True, exist_ok=True)
    with layout.lock.open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"waiting for another command that works on cluster {layout.name}", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def remove(layout: Layout) -> None:
    """Remove everything a cluster left on disk.

    Raises:
        ClusterError: something still uses it.
    """
    try:
        shutil.rmtree(layout.root)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise ClusterError(f"{layout.root} cannot be removed: {error}") from error
