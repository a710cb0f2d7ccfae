"""Builds an image of every component that has one: with docker, or with buildah."""

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
COMPONENTS = ("qpu-gateway", "admission", "deviceplugin", "scheduler-extender", "cutting")


def main(wanted: list[str]) -> int:
    """Builds the wanted components, or all; returns 1 where nothing can build images."""
    program = next((name for name in ("docker", "buildah") if shutil.which(name)), None)
    if program is None:
        print("Neither docker nor buildah is installed, and images are built with one of them.")
        return 1
    for component in wanted or COMPONENTS:
        tag = f"kubeqpu/{component}"
        print(f"{program}: {tag}", flush=True)
        command = [program, "build", "--tag", tag, "--build-arg", f"COMPONENT={component}", "."]
        subprocess.run(command, cwd=ROOT, check=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
