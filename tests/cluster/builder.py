"""Builds the programs, once per content: a second call finds what the first one made."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.cluster import processes
from tests.cluster.errors import ClusterError, MissingError
from tests.cluster.layout import CHECKOUT, CLUSTERS, Layout, cache_folder
from tests.cluster.processes import Process
from tests.cluster.programs import PROGRAMS, Program, apply_patch, key
from tests.cluster.shell import run

Report = Callable[[str], None]
BACKGROUND = Layout(".builder", CLUSTERS)
BUILD = "build"
KEPT_BUILDS = 3
GO_MISSING = (
    "Go is not installed, and {name} has not been built yet: install Go 1.26 or later "
    "(on PATH as 'go'), or point KUBEQPU_CACHE_DIR to a cache that holds the built programs"
)


@dataclass(frozen=True)
class Builder:
    """Builds programs into a cache.

    Attributes:
        report: told what is going on, one line at a time.
        cache: where finished builds are kept.
    """

    report: Report
    cache: Path = field(default_factory=cache_folder)

    def folder(self, program: Program) -> Path:
        """Where a program's build is, or will be."""
        return self.cache / "programs" / f"{program.name}-{key(program)}"

    def is_built(self, program: Program) -> bool:
        """Whether a program is in the cache."""
        return self.folder(program).is_dir()

    def seconds_left(self, programs: Iterable[Program]) -> int:
        """About how long building takes what is not in the cache, on two cores, at most."""
        return sum(program.cold_seconds for program in programs if not self.is_built(program))

    def build(self, programs: Iterable[Program]) -> None:
        """Build what is not in the cache, one program at a time.

        Raises:
            MissingError: Go is needed and not installed.
            ClusterError: a build failed.
        """
        missing = [program for program in programs if not self.is_built(program)]
        for number, program in enumerate(missing, 1):
            if shutil.which("go") is None:
                raise MissingError(GO_MISSING.format(name=program.name))
            left = self.seconds_left(missing)
            self.report(
                f"building {program.name} ({number} of {len(missing)}; all of it takes about "
                f"{max(1, round(left / 60))} min on two cores the first time, seconds later on)"
            )
            with self.one_at_a_time("programs") as work:
                if not self.is_built(program):
                    self._build(program, work)
                    self._forget_older_builds(program)

    @contextmanager
    def one_at_a_time(self, kind: str) -> Iterator[Path]:
        """Let nobody else who uses this cache build things of a kind; a folder to work in."""
        self.cache.mkdir(parents=True, exist_ok=True)
        with (self.cache / f"{kind}.lock").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self.report(f"waiting for somebody else who builds {kind}")
                fcntl.flock(lock, fcntl.LOCK_EX)
            for abandoned in self.cache.glob(f".{kind}-*"):
                shutil.rmtree(abandoned, ignore_errors=True)
            with tempfile.TemporaryDirectory(dir=self.cache, prefix=f".{kind}-") as work:
                yield Path(work)

    def _build(self, program: Program, work: Path) -> None:
        target = self.folder(program)
        target.parent.mkdir(parents=True, exist_ok=True)
        began = time.monotonic()
        draft = work / "result"
        draft.mkdir()
        flags = self._patched_module(program, work)
        for binary, package in program.packages:
            self._compile(program, [*flags, "-o", str(draft / binary), package])
        for link in program.links:
            (draft / link).symlink_to(program.packages[0][0])
        for asset in program.assets:
            copy_tree(module_folder(program) / asset, draft / Path(asset).name)
        draft.rename(target)
        self.report(f"built {program.name} in {time.monotonic() - began:.0f} s")

    def _forget_older_builds(self, program: Program) -> None:
        """Keep a few builds of a program, so that a cache kept for long does not grow for ever."""
        builds = self.folder(program).parent.glob(f"{program.name}-*")
        newest_first = sorted(builds, key=lambda path: path.stat().st_ctime, reverse=True)
        for path in newest_first[KEPT_BUILDS:]:
            shutil.rmtree(path)

    def _patched_module(self, program: Program, work: Path) -> list[str]:
        """Make a patched copy of the upstream module; the flags that make Go use it."""
        if program.patch is None:
            return []
        copy = work / "module"
        copy_tree(module_folder(program), copy)
        apply_patch(program.patch, copy)
        for name in ("go.mod", "go.sum"):
            shutil.copyfile(program.folder / name, work / name)
        go(program, "mod", "edit", f"-replace={program.module}={copy}", str(work / "go.mod"))
        return [f"-modfile={work / 'go.mod'}"]

    def _compile(self, program: Program, arguments: list[str]) -> None:
        command = ["nice", "-n", "19", "go", "build", "-v", "-trimpath",
                   f"-ldflags={program.link_flags}", *arguments]  # fmt: skip
        began = last = time.monotonic()
        said: list[str] = []
        with subprocess.Popen(
            command, cwd=program.folder, env=go_environment(), text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        ) as compiler:  # fmt: skip
            assert compiler.stderr is not None
            for line in compiler.stderr:
                said.append(line.rstrip())
                if time.monotonic() - last > 5:
                    last = time.monotonic()
                    self.report(f"building {program.name}: {last - began:.0f} s, {said[-1]}")
        if compiler.returncode != 0:
            raise ClusterError(f"building {program.name} failed:\n" + "\n".join(said[-20:]))


def go_environment() -> dict[str, str]:
    """The environment builds run in: static binaries, and no change to go.mod or go.sum."""
    return {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly -buildvcs=false",
            "GOWORK": "off"}  # fmt: skip


def go(program: Program, *arguments: str) -> str:
    """Run the go command in a program's module."""
    return run(["go", *arguments], folder=program.folder, environment=go_environment())


def module_folder(program: Program) -> Path:
    """Where Go keeps the upstream module's source; downloads it if need be."""
    go(program, "mod", "download", program.module)
    return Path(go(program, "list", "-m", "-f", "{{.Dir}}", program.module).strip())


def copy_tree(source: Path, target: Path) -> None:
    """Copy a folder of Go's module cache, which is read-only, to one that is not."""
    shutil.copytree(source, target)
    for path in [target, *target.rglob("*")]:
        path.chmod(path.stat().st_mode | 0o200)


def start_in_background() -> Process:
    """Build everything in a process of its own, or return the one that already does."""
    command = [sys.executable, "-m", "tests.cluster", "build"]
    return processes.start(
        BACKGROUND, BUILD, ["env", f"--chdir={CHECKOUT}", "PYTHONUNBUFFERED=1", *command]
    )


def background() -> Process | None:
    """The build that runs in the background, if one does."""
    return processes.find(BACKGROUND, BUILD)


def build_everything(report: Report) -> None:
    """Build every program, the ones that a control plane needs first."""
    Builder(report).build(PROGRAMS)
