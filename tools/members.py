"""Prints the workspace folders a component is made of: itself and what of ours it depends on.

Runs on the standard library alone, because images are built with it.
"""

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def read_projects() -> dict[str, tuple[str, list[str]]]:
    """Reads every member's folder and its dependencies on other members, by distribution."""
    workspace = tomllib.loads((ROOT / "pyproject.toml").read_text())
    folders = workspace["tool"]["uv"]["workspace"]["members"]
    projects = {}
    for folder in folders:
        project = tomllib.loads((ROOT / folder / "pyproject.toml").read_text())["project"]
        names = [
            re.split(r"[\[<>=!~; ]", wanted, maxsplit=1)[0] for wanted in project["dependencies"]
        ]
        projects[project["name"]] = (folder, [n for n in names if n.startswith("kubeqpu-")])
    return projects


def find_members(component: str) -> list[str]:
    """Lists the folders of a component, dependencies first.

    Args:
        component: Folder of the component, such as `qpu-gateway`.

    Returns:
        Folders in an order in which they can be installed.

    Raises:
        SystemExit: If there is no such component.
    """
    projects = read_projects()
    names = {folder: name for name, (folder, _) in projects.items()}
    if component not in names:
        sys.exit(f"There is no component '{component}'. There are: {', '.join(sorted(names))}.")
    found: list[str] = []

    def visit(name: str) -> None:
        folder, needed = projects[name]
        for other in needed:
            visit(other)
        if folder not in found:
            found.append(folder)

    visit(names[component])
    return found


if __name__ == "__main__":
    print(" ".join(find_members(sys.argv[1])))
