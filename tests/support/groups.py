"""Groups of tests that share a cluster: a group runs in one process, groups side by side.

Most of what these tests do is waiting, so two groups at once take little longer than one.
"""

from collections.abc import Iterable
from pathlib import Path

import pytest


def group(items: Iterable[pytest.Item], folder: Path, name: str) -> None:
    """Puts the tests of a folder, and of those below it, in a group of pytest-xdist.

    A folder's group is decided by the innermost call, so call this from its `conftest.py`.
    """
    for item in items:
        if item.path.is_relative_to(folder) and not item.get_closest_marker("xdist_group"):
            item.add_marker(pytest.mark.xdist_group(name))
