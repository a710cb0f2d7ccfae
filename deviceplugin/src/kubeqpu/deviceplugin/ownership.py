"""Which of several device plugins on a node acts: the newest that lives.

During a rolling update an old and a new one overlap, and a kubelet accepts lists of both. So a
starting plugin puts a file of its own in place of the other's and keeps it locked. One that finds
another's file falls silent; one that finds it unlocked, because its owner died, takes over again.
"""

import fcntl
import os
from pathlib import Path

FILE_NAME = "kubeqpu-deviceplugin.lock"


class Ownership:
    """This process's part in it. Not a lock to wait for: whoever takes it has it.

    Args:
        folder: Folder of the kubelet's sockets; the kubelet leaves other files in it alone.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE_NAME
        self._descriptor: int | None = None

    @property
    def holds(self) -> bool:
        """Whether it ever took it and did not give it up, superseded or not."""
        return self._descriptor is not None

    def take(self) -> None:
        """Becomes the one that acts.

        Raises:
            OSError: If the folder cannot be written.
        """
        temporary = self._path.with_name(f".{FILE_NAME}.{os.urandom(4).hex()}")
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            temporary.rename(self._path)
        except OSError:
            os.close(descriptor)
            temporary.unlink(missing_ok=True)
            raise
        self.release()
        self._descriptor = descriptor

    def release(self) -> None:
        """Gives it up, so that an older one that still lives may act."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def is_ours(self) -> bool:
        """Tells whether this process acts; where nobody's file is left, it puts its own there."""
        if self._descriptor is None:
            return False
        try:
            there = os.stat(self._path)
        except FileNotFoundError:
            self.take()
            return True
        ours = os.fstat(self._descriptor)
        return (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)

    def take_from_dead(self) -> bool:
        """Takes over if the present owner died; returns whether it did."""
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            self.take()
            return True
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        finally:
            os.close(descriptor)
        self.take()
        return True
