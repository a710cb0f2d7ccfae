"""Nodes for the device plugin's tests."""

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.support.kubelet_node import Node


@asynccontextmanager
async def open_node(**settings: float) -> AsyncIterator[Node]:
    """A node whose kubelet does not run yet. Its folder's name is short, as sockets need it."""
    with tempfile.TemporaryDirectory(prefix="node-") as name:
        async with Node(Path(name), **settings).closing() as node:
            yield node
