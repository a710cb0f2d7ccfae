"""Where everything lies: all of it below the checkout's git-ignored build folder."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parents[1]
CLUSTERS = CHECKOUT / "build" / "cluster"


def cache_folder() -> Path:
    """Where built programs and images are kept: KUBEQPU_CACHE_DIR, or in the checkout."""
    chosen = os.environ.get("KUBEQPU_CACHE_DIR")
    return Path(chosen).resolve() if chosen else CLUSTERS / "cache"


@dataclass(frozen=True)
class Layout:
    """The files of one cluster."""

    name: str
    clusters: Path = CLUSTERS

    @property
    def root(self) -> Path:
        """The folder that ``down`` removes."""
        return self.clusters / self.name

    @property
    def lock(self) -> Path:
        """Held by ``up`` and ``down``; outside the root, which ``down`` removes."""
        return self.clusters / ".locks" / self.name

    @property
    def state(self) -> Path:
        """What was chosen for this cluster, as JSON."""
        return self.root / "state.json"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return self.root / "kubeconfig"

    @property
    def pki(self) -> Path:
        """Certificates, keys and the components' kubeconfigs."""
        return self.root / "pki"

    @property
    def logs(self) -> Path:
        """One log per process."""
        return self.root / "logs"

    @property
    def run(self) -> Path:
        """One record per process: its pid, when it started, and the boot it belongs to."""
        return self.root / "run"

    @property
    def bin(self) -> Path:
        """Links to the programs this cluster runs, kubectl and helm among them."""
        return self.root / "bin"

    def data(self, owner: str) -> Path:
        """A process' or add-on's own folder."""
        return self.root / owner

    def node(self, name: str) -> Path:
        """A node's configuration and its disk."""
        return self.root / "nodes" / name

    def log(self, process: str) -> Path:
        """The log of a process."""
        return self.logs / f"{process}.log"

    def record(self, process: str) -> Path:
        """The record of a process."""
        return self.run / f"{process}.pid"

    def kubeconfig_of(self, component: str) -> Path:
        """The kubeconfig of a component."""
        return self.pki / f"{component}.kubeconfig"
