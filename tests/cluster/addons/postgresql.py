"""PostgreSQL beside the control plane, reachable from pods and from the host."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tests.cluster import processes, state
from tests.cluster.controlplane import death_of
from tests.cluster.errors import ClusterError
from tests.cluster.requirements import POSTGRESQL_PROGRAMS
from tests.cluster.shell import run, wait_until

if TYPE_CHECKING:
    from tests.cluster.cluster import Cluster

NAME = "postgresql"
USER = "kubeqpu"


def url(cluster: Cluster) -> str:
    """The URL that a client connects to, its password included."""
    return (cluster.layout.data(NAME) / "url").read_text().strip()


def program(name: str) -> str:
    """The path of the newest installed version's program."""
    versions = sorted(POSTGRESQL_PROGRAMS.iterdir(), key=lambda path: float(path.name))
    return str(versions[-1] / "bin" / name)


def unprivileged() -> list[str]:
    """What makes root look like somebody else to PostgreSQL, which refuses to run as root.

    In a user namespace of its own it keeps root's access to the cluster's folder, wherever the
    checkout lies; as the user postgres it could not reach one below /root.
    """
    if os.geteuid() != 0:
        return []
    account = pwd.getpwnam("postgres")  # its package makes it; initdb wants a user with a name
    return ["unshare", "--user", f"--map-user={account.pw_uid}", f"--map-group={account.pw_gid}"]


def install(cluster: Cluster) -> None:
    """Start PostgreSQL if it does not run."""
    chosen, address = cluster.state, cluster.control_plane.address
    ports = state.choose_ports({NAME: address}, chosen.ports)
    folder = cluster.layout.data(NAME)
    if not (folder / "url").exists():
        initialise(folder, f"{address}:{ports[NAME]}")
    state.save(cluster.layout, replace(chosen, ports=ports))
    options = {
        "listen_addresses": address, "port": str(ports[NAME]), "unix_socket_directories": "",
        "fsync": "off", "synchronous_commit": "off", "full_page_writes": "off",
        "max_connections": "200",
    }  # fmt: skip
    settings = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
    command = [*unprivileged(), program("postgres"), "-D", str(folder / "data"), *settings]
    if processes.find(cluster.layout, NAME) is None:
        wait_for_predecessor(folder / "data" / "postmaster.pid")
    processes.start(cluster.layout, NAME, command, cgroups=cluster.control_plane.host_cgroups())
    wait_until(lambda: ready(address, ports[NAME]), "PostgreSQL to be ready", seconds=60,
               still_alive=death_of(cluster.layout, NAME))  # fmt: skip


def wait_for_predecessor(lock: Path) -> None:
    """Wait until a killed server's pid is free: PostgreSQL takes a zombie's for a server's."""
    if lock.exists():
        pid = lock.read_text().split(maxsplit=1)[0]
        wait_until(lambda: not Path(f"/proc/{pid}").exists(), "the last PostgreSQL to be reaped",
                   seconds=30)  # fmt: skip


def initialise(folder: Path, server: str) -> None:
    """Make a database cluster with one user who has a password; the URL comes last."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    password = secrets.token_urlsafe(16)
    state.write(folder / "password", password, 0o600)
    run([*unprivileged(), program("initdb"), "-D", folder / "data", f"--username={USER}",
         "--auth=scram-sha-256", f"--pwfile={folder / 'password'}", "--no-sync",
         "--encoding=UTF8", "--locale=C"])  # fmt: skip
    with (folder / "data" / "pg_hba.conf").open("a") as rules:
        rules.write("host all all 0.0.0.0/0 scram-sha-256\n")
    state.write(folder / "url", f"postgresql://{USER}:{password}@{server}/postgres\n", 0o600)


def ready(address: str, port: int) -> bool:
    """Whether PostgreSQL accepts connections."""
    try:
        run([program("pg_isready"), f"--host={address}", f"--port={port}"])
    except ClusterError:
        return False
    return True
