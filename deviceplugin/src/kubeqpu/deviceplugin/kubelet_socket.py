"""Watches a kubelet's socket: whether it is there, and whether it is another kubelet's."""

import asyncio
import os
import socket
from dataclasses import dataclass
from pathlib import Path

# Only while somebody waits for a kubelet: its end is seen by the end of its streams.
_LOOK_SECONDS = 0.01


@dataclass(frozen=True)
class Identity:
    """Tells one socket from the next at the same path.

    It stays on disk while its kubelet is dead, and file systems give inodes away again, so the
    time of its making is part of it.

    Attributes:
        inode: Device and number of its inode.
        changed_at_ns: When the inode was last changed.
    """

    inode: tuple[int, int]
    changed_at_ns: int


def identify(path: Path) -> Identity | None:
    """Identifies the socket at a path; None if there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return Identity((found.st_dev, found.st_ino), found.st_ctime_ns)


class KubeletSocket:
    """Waits for changes of the socket at a path.

    It is polled: a look takes microseconds, and a wiped folder loses every watch on it.

    Args:
        path: Where the kubelet makes it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def present(self) -> Identity | None:
        """The socket as it is now."""
        return identify(self._path)

    def check_listening(self) -> None:
        """Finds out whether anybody listens: a kubelet that died leaves its socket behind.

        Raises:
            OSError: If nobody does.
        """
        with socket.socket(socket.AF_UNIX) as probe:
            # A local connection is made at once or refused; only a full queue would wait.
            probe.setblocking(False)
            probe.connect(str(self._path))

    async def appear(self, known: Identity | None = None) -> Identity:
        """Waits until there is a socket that is not the known one."""
        while (found := self.present) is None or found == known:  # noqa: ASYNC110 - no event
            await asyncio.sleep(_LOOK_SECONDS)
        return found
