"""The pool's side of the zygote: starts it, asks it for workers and hears how they ended."""

import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from kubeqpu.qpu_gateway.errors import WorkerError
from kubeqpu.qpu_gateway.workers.limits import WorkerLimits

_PACKET_BYTES = 65536
_START_SECONDS = 60.0
# Workers load tenants' payloads: they get no credentials from the gateway's environment.
_PASSED_VARIABLES = (
    "PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV",
    "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES", "PYTHONDONTWRITEBYTECODE",
)  # fmt: skip


@dataclass(frozen=True)
class ForkedProcess:
    """A worker that was just forked.

    Attributes:
        pid: Its process id.
        connection: Our end of its stream socket.
        exited: Its exit code once it has ended; negative is the signal that ended it.
    """

    pid: int
    connection: socket.socket
    exited: asyncio.Future[int]


class ForkServer:
    """A running zygote."""

    def __init__(self, limits: WorkerLimits) -> None:
        self._limits = limits
        self._control: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._directory: Path | None = None
        self._ready: asyncio.Future[None] | None = None
        self._forks: dict[int, asyncio.Future[int]] = {}
        self._exits: dict[int, asyncio.Future[int]] = {}
        self._next_id = 0
        self.lost = False

    async def start(self) -> None:
        """Starts the zygote and waits until its imports are done.

        Raises:
            WorkerError: If it does not come up.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        self._directory = Path(tempfile.mkdtemp(prefix="qpu-gateway-"))
        environment = _zygote_environment(os.environ, self._directory, self._limits)
        command = [sys.executable, "-P", "-m", "kubeqpu.qpu_gateway.workers.zygote"]
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603, ASYNC220 - our own module; returns at once
                [*command, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                env=environment,
                stdin=subprocess.DEVNULL,
            )
        self._control = ours
        loop = asyncio.get_running_loop()
        self._ready = loop.create_future()
        loop.add_reader(ours.fileno(), self._take_event)
        try:
            await asyncio.wait_for(self._ready, _START_SECONDS)
        except TimeoutError as error:
            raise WorkerError(
                f"The parent of the workers was not ready after {_START_SECONDS:.0f} s; "
                "the machine may be overloaded."
            ) from error

    async def fork(self) -> ForkedProcess:
        """Forks a worker.

        Raises:
            WorkerError: If the zygote is gone.
        """
        if self._control is None or self.lost or self._process is None:
            raise WorkerError("The parent of the workers is gone; send the job again.")
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        self._next_id += 1
        forked = asyncio.get_running_loop().create_future()
        self._forks[self._next_id] = forked
        configuration = {"limits": self._limits.model_dump(), "zygote": self._process.pid}
        request = {
            "request": "fork",
            "id": self._next_id,
            "configuration": json.dumps(configuration),
        }
        try:
            with theirs:
                socket.send_fds(self._control, [json.dumps(request).encode()], [theirs.fileno()])
            pid = await forked
            return ForkedProcess(pid, ours, self._exits[pid])
        except (OSError, WorkerError) as error:
            ours.close()
            raise WorkerError("The parent of the workers is gone; send the job again.") from error

    def kill(self, pid: int) -> None:
        """Kills a worker; its exit is heard of later."""
        if self._control is not None and not self.lost:
            try:
                self._control.send(json.dumps({"request": "kill", "pid": pid}).encode())
            except OSError:
                self._lose()

    async def close(self) -> None:
        """Ends the zygote, and with it all workers."""
        self._lose()
        if self._process is not None:
            await asyncio.to_thread(self._process.wait)
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)

    def _take_event(self) -> None:
        assert self._control is not None
        try:
            packet = self._control.recv(_PACKET_BYTES)
        except BlockingIOError:
            return
        except OSError:
            packet = b""
        if not packet:
            self._lose()
            return
        event = json.loads(packet)
        if event["event"] == "ready":
            assert self._ready is not None
            self._ready.set_result(None)
        elif event["event"] == "forked":
            # The future of its exit exists before its exit can be reported.
            self._exits[event["pid"]] = asyncio.get_running_loop().create_future()
            forked = self._forks.pop(event["id"])
            if forked.cancelled():
                self.kill(event["pid"])
            else:
                forked.set_result(event["pid"])
        else:
            exited = self._exits.pop(event["pid"], None)
            if exited is not None and not exited.done():
                exited.set_result(event["code"])

    def _lose(self) -> None:
        if self._control is None:
            return
        self.lost = True
        asyncio.get_running_loop().remove_reader(self._control.fileno())
        self._control.close()
        self._control = None
        gone = WorkerError("The parent of the workers ended unexpectedly; send the job again.")
        waiting = [self._ready, *self._forks.values()]
        for future in waiting:
            if future is not None and not future.done():
                future.set_exception(gone)
        for exited in self._exits.values():
            if not exited.done():
                exited.set_result(-9)
        self._forks.clear()
        self._exits.clear()


def _zygote_environment(
    environment: Mapping[str, str], directory: Path, limits: WorkerLimits
) -> dict[str, str]:
    settings = directory / "settings.conf"
    settings.write_text("[default]\nmin_qpy_version = 13\nparallel = False\n")
    threads = str(limits.simulator_threads)
    passed = {name: environment[name] for name in _PASSED_VARIABLES if name in environment}
    return passed | {
        "QISKIT_SETTINGS": str(settings),
        "QISKIT_PARALLEL": "FALSE",
        "RAYON_NUM_THREADS": threads,
        "OMP_NUM_THREADS": threads,
        # Linear algebra outside Aer is small; its threads would not survive a fork.
        "OPENBLAS_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
    }
