"""Checks the chart: lint, render with every values file in its `ci` folder, and its own tests."""

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.cluster.builder import Builder
from tests.cluster.programs import HELM, HELM_UNITTEST, KUBERNETES_VERSION, Program

ROOT = Path(__file__).resolve().parents[1]
CHART = ROOT / "charts" / "kubeqpu"
RELEASE, NAMESPACE = "kubeqpu", "quantum"
# Without a cluster Helm does not know a version.
_VERSION = ("--kube-version", KUBERNETES_VERSION)


def values_files() -> tuple[Path, ...]:
    """The values files that the chart is checked with, those of the examples among them."""
    examples = (ROOT / "examples").glob("*/values-*.yaml")
    return (*sorted((CHART / "ci").glob("*-values.yaml")), *sorted(examples))


def find_program(program: Program) -> str:
    """Finds a program on PATH, else among those built before, else builds it.

    Raises:
        MissingError: If it has to be built and Go is not installed.
    """
    if found := shutil.which(program.name):
        return found
    builder = Builder(print)
    builder.build([program])
    return str(builder.folder(program) / program.name)


def render(
    values: Path | None = None,
    settings: Sequence[str] = (),
    version: str = KUBERNETES_VERSION,
) -> str:
    """Renders the chart as `helm template` does.

    Args:
        values: A values file; None: the default values.
        settings: Single values, as `key=value`.
        version: The cluster's version.

    Raises:
        CalledProcessError: If Helm refuses; its `stderr` says why.
    """
    arguments = [] if values is None else ["--values", str(values)]
    arguments += [f"--set={setting}" for setting in settings]
    command = [
        find_program(HELM), "template", RELEASE, str(CHART), "--namespace", NAMESPACE,
        f"--kube-version={version}", *arguments,
    ]  # fmt: skip
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def main() -> int:
    """Checks everything; returns 1 at the first thing that is wrong."""
    helm = find_program(HELM)
    for values in values_files():
        command = [
            helm,
            "lint",
            "--strict",
            "--quiet",
            *_VERSION,
            "--values",
            str(values),
            str(CHART),
        ]
        if subprocess.run(command, check=False).returncode:
            return 1
        try:
            print(f"{values.name}: {render(values).count('kind: ')} kinds rendered")
        except subprocess.CalledProcessError as error:
            print(f"{values.name}: {error.stderr}", file=sys.stderr)
            return 1
    command = [
        find_program(HELM_UNITTEST),
        "--strict",
        "--file",
        "tests/**/*_test.yaml",
        str(CHART),
    ]
    return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
