"""The programs a cluster runs, and what identifies a build of one."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from tests.cluster.layout import HERE
from tests.cluster.spec import Addon, ClusterSpec

GO_MODULES = HERE / "go"
KUBERNETES_VERSION = "v1.36.3"
VERSION_VARIABLES = "k8s.io/component-base/version"


@dataclass(frozen=True)
class Patch:
    """What a module's published source lacks.

    Attributes:
        copies: files to make from another file of the module, by path.
        placeholders: files that only have to be there.
    """

    copies: tuple[tuple[str, str], ...] = ()
    placeholders: tuple[str, ...] = ()


@dataclass(frozen=True)
class Program:
    """One Go module and what is taken from it.

    Attributes:
        name: its folder below tests/cluster/go.
        packages: the package of each binary, by the binary's name.
        links: further names for the first binary, which looks at its own.
        module: the upstream module that assets come from.
        assets: folders of the module that are kept beside the binaries.
        link_flags: passed to the linker.
        patch: what has to be added to the module before it compiles.
        cold_seconds: how long it builds on two cores with an empty cache, for the progress line.
    """

    name: str
    packages: tuple[tuple[str, str], ...]
    links: tuple[str, ...] = ()
    module: str = ""
    assets: tuple[str, ...] = ()
    link_flags: str = "-s -w"
    patch: Patch | None = None
    cold_seconds: int = 60

    @property
    def folder(self) -> Path:
        """Its Go module."""
        return GO_MODULES / self.name


def version_flags() -> str:
    """What makes Kubernetes report its version; unset, it reports v0.0.0."""
    major, minor, _ = KUBERNETES_VERSION.lstrip("v").split(".")
    values = {"gitVersion": KUBERNETES_VERSION, "gitMajor": major, "gitMinor": minor}
    return " ".join(f"-X {VERSION_VARIABLES}.{name}={value}" for name, value in values.items())


KUBERNETES = Program(
    "kubernetes",
    packages=(("kubernetes", "."),),
    links=("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy",
           "kubelet", "kubectl"),
    link_flags=f"-s -w {version_flags()}",
    cold_seconds=290,
)  # fmt: skip
ETCD = Program("etcd", packages=(("etcd", "go.etcd.io/etcd/server/v3"),), cold_seconds=22)
PAUSE = Program("pause", packages=(("pause", "."),), cold_seconds=2)
FETCH = Program("fetch", packages=(("fetch", "."),), cold_seconds=5)
COREDNS = Program("coredns", packages=(("coredns", "."),), cold_seconds=42)
HELM = Program("helm", packages=(("helm", "helm.sh/helm/v3/cmd/helm"),), cold_seconds=44)
HELM_UNITTEST = Program(
    "helm-unittest",
    packages=(("helm-unittest", "github.com/helm-unittest/helm-unittest/cmd/helm-unittest"),),
    cold_seconds=60,
)
KUEUE = Program(
    "kueue",
    packages=(("manager", "sigs.k8s.io/kueue/cmd/kueue"),),
    module="sigs.k8s.io/kueue",
    assets=("charts/kueue",),
    cold_seconds=165,
)
ARGO_MODULE = "github.com/argoproj/argo-workflows/v3"
ARGO = Program(
    "argo",
    packages=tuple(
        (name, f"{ARGO_MODULE}/cmd/{name}") for name in ("workflow-controller", "argoexec", "argo")
    ),
    module=ARGO_MODULE,
    assets=("manifests",),
    # One file is a symbolic link upstream, which a module's zip leaves out, and the argo command
    # embeds a web page that only a build of the user interface makes.
    patch=Patch(
        copies=(
            (
                "workflow/executor/osspecific/signal_darwin.go",
                "workflow/executor/osspecific/signal_linux.go",
            ),
        ),
        placeholders=("ui/dist/app/index.html",),
    ),
    cold_seconds=185,
)
PROGRAMS = (ETCD, KUBERNETES, PAUSE, FETCH, HELM, HELM_UNITTEST, COREDNS, KUEUE, ARGO)
CONTROL_PLANE = (ETCD, KUBERNETES)


def needed(spec: ClusterSpec) -> tuple[Program, ...]:
    """The programs that a cluster needs."""
    wanted = {ETCD, KUBERNETES}
    if spec.nodes:
        wanted.add(PAUSE)
    wanted |= {COREDNS} if Addon.COREDNS in spec.addons else set()
    wanted |= {HELM, KUEUE} if Addon.KUEUE in spec.addons else set()
    wanted |= {ARGO} if Addon.ARGO in spec.addons else set()
    return tuple(program for program in PROGRAMS if program in wanted)


def sources(folder: Path) -> list[Path]:
    """The files of a module that decide what is built from it."""
    return sorted(path for path in folder.iterdir() if path.suffix in {".go", ".mod", ".sum"})


def digest(parts: Iterable[bytes]) -> str:
    """A short name for some content."""
    total = hashlib.sha256()
    for part in parts:
        total.update(len(part).to_bytes(8, "big") + part)
    return total.hexdigest()[:16]


def key(program: Program, folder: Path | None = None) -> str:
    """What a build is kept under: the sources, their pins, and how they are built."""
    paths = sources(folder or program.folder)
    files = [part for path in paths for part in (path.name.encode(), path.read_bytes())]
    return digest([repr(replace(program, cold_seconds=0)).encode(), *files])


def apply_patch(patch: Patch, copy_of_module: Path) -> None:
    """Add what is missing to a writable copy of a module."""
    for source, target in patch.copies:
        shutil.copyfile(copy_of_module / source, copy_of_module / target)
    for path in patch.placeholders:
        (copy_of_module / path).parent.mkdir(parents=True, exist_ok=True)
        (copy_of_module / path).touch()
