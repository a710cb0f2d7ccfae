"""Regenerates what is committed but made by a program: stubs, pins, and parts of the chart."""

import os
import subprocess
import sys
from pathlib import Path

from tools import crds, values_file

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
OURS = (
    *("kubeqpu-proto", "kubeqpu-common", "kubeqpu-kube", "kubeqpu-gateway", "kubeqpu-client"),
    *("kubeqpu-cutting", "kubeqpu-admission", "kubeqpu-deviceplugin"),
    "kubeqpu-scheduler-extender",
)
MEMBERS = (
    *("proto", "common", "kube", "qpu-gateway", "client", "cutting", "admission", "deviceplugin"),
    "scheduler-extender",
)
# What each file of pins is made from. No file may record an address, so there is no lock file.
PINS = {
    "build": ("--group", "pyproject.toml:build"),
    "dev": ("--group", "pyproject.toml:dev", *(f"{member}/pyproject.toml" for member in MEMBERS)),
    "admission": ("admission/pyproject.toml",),
    "deviceplugin": ("deviceplugin/pyproject.toml",),
    "qpu-gateway": ("qpu-gateway/pyproject.toml",),
    "cutting": ("cutting/pyproject.toml",),
    "scheduler-extender": ("scheduler-extender/pyproject.toml",),
}


def generate_stubs() -> None:
    """Compiles the .proto files."""
    environment = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    command = [sys.executable, "proto/generate.py"]
    subprocess.run(command, cwd=ROOT, check=True, env=environment, stderr=subprocess.DEVNULL)


def generate_pins(upgrade: bool) -> None:
    """Resolves the members' dependencies to versions and hashes.

    Args:
        upgrade: Whether to take newer versions; else pins that still satisfy are kept.
    """
    for name, sources in PINS.items():
        hidden = [argument for package in OURS for argument in ("--no-emit-package", package)]
        subprocess.run(
            [
                str(BIN / "uv"), "pip", "compile", "--quiet", "--universal", "--generate-hashes",
                "--no-header", "--python-version", "3.11", "--system-certs",
                *(["--upgrade"] if upgrade else []),
                *hidden, *sources, "--output-file", f"requirements/{name}.txt",
            ],
            cwd=ROOT,
            check=True,
        )  # fmt: skip


def main() -> int:
    """Regenerates everything; `--upgrade` also takes newer versions."""
    generate_stubs()
    crds.main()
    values_file.main()
    generate_pins(upgrade="--upgrade" in sys.argv[1:])
    return 0


if __name__ == "__main__":
    sys.exit(main())
