"""The device plugin as a process of its own, on the packages that its image has."""

import asyncio
import os
import re
import sys
import tempfile
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_SOURCES = ("proto/src", "common/src", "deviceplugin/src")
# As the chart sets it.
MALLOC = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_TRIM_THRESHOLD_": "65536",
    "MALLOC_MMAP_THRESHOLD_": "32768",
}
_START = (
    "import sys; sys.path[:0] = {path!r}; from kubeqpu.deviceplugin.__main__ import main; main()"
)


def link_packages(folder: Path) -> None:
    """Links the packages of the image into a folder: what else is installed here costs nothing.

    structlog, for one, imports a library for terminals where it finds it.
    """
    pins = (ROOT / "requirements" / "deviceplugin.txt").read_text()
    for name in re.findall(r"^([A-Za-z0-9._-]+)==", pins, flags=re.MULTILINE):
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            # One for another system or version of Python.
            continue
        tops = {Path(str(path)).parts[0] for path in distribution.files or ()}
        for top in tops - {"..", "__pycache__"}:
            target = Path(str(distribution.locate_file(top)))
            link = folder / top
            if target.exists() and not link.exists():
                link.symlink_to(target)


class PluginProcess:
    """A running device plugin.

    Args:
        environment: Its settings.
    """

    def __init__(self, environment: dict[str, str]) -> None:
        self._environment = environment
        self._packages = tempfile.TemporaryDirectory()
        link_packages(Path(self._packages.name))
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Starts it."""
        path = [*(str(ROOT / source) for source in _SOURCES), self._packages.name]
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-I", "-S", "-c", _START.format(path=path),
            env={"PATH": os.environ["PATH"], **MALLOC, **self._environment},
        )  # fmt: skip

    async def stop(self) -> int:
        """Stops it; returns its exit status."""
        if self._process is None:
            return 0
        process, self._process = self._process, None
        process.terminate()
        status = await process.wait()
        self._packages.cleanup()
        return status

    def memory_mib(self) -> dict[str, float]:
        """Reads what memory it has: resident, its peak, and its share of what others have too."""
        assert self._process is not None
        folder = Path("/proc") / str(self._process.pid)
        found = {}
        for file in ("status", "smaps_rollup"):
            for name, value in re.findall(r"^(\w+):\s+(\d+) kB", (folder / file).read_text(), re.M):
                found[name] = round(int(value) / 1024, 2)
        return {"rss": found["VmRSS"], "peak": found["VmHWM"], "pss": found["Pss"]}

    def cpu_seconds(self) -> float:
        """Reads how much processor time it took."""
        assert self._process is not None
        text = (Path("/proc") / str(self._process.pid) / "stat").read_text()
        fields = text.rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def modules(self) -> set[str]:
        """Lists the files of programs that it has mapped."""
        assert self._process is not None
        text = (Path("/proc") / str(self._process.pid) / "maps").read_text()
        return set(re.findall(r"(\S+\.so\S*)$", text, flags=re.MULTILINE))
