"""The process from which workers are forked: it imports, forks and reaps, and does nothing else.

It never runs a circuit, so a fork inherits warm imports but no threads and no tenant's data.
Python's own forkserver is not used because it re-imports the caller's `__main__` in each child,
which would run a user's script again in the embedded mode, and because it does not report exit
statuses.

It lives as long as its control socket: when the gateway goes, by whatever signal, the socket
closes, and the kernel kills the workers with this process (`PR_SET_PDEATHSIG`).
"""

import gc
import importlib
import json
import os
import selectors
import signal
import socket
import sys
from collections.abc import Callable

_PACKET_BYTES = 65536
_PRELOADED = (
    "kubeqpu.qpu_gateway.workers.child",
    "kubeqpu.qpu_gateway.simulation.tasks",
    "qiskit.transpiler.preset_passmanagers",
    "qiskit_aer",
)


class Zygote:
    """Serves one control socket: fork requests in, process ids and exit statuses out."""

    def __init__(self, control: socket.socket, serve: Callable[[socket.socket, str], None]) -> None:
        self._control = control
        self._serve = serve
        self._children: set[int] = set()
        self._wake_reader, self._wake_writer = socket.socketpair()
        self._wake_reader.setblocking(False)
        self._wake_writer.setblocking(False)

    def run(self) -> None:
        """Serves until the control socket closes."""
        signal.signal(signal.SIGCHLD, lambda *_: None)
        # A terminal's Ctrl-C reaches the whole process group; the gateway decides when we end.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.set_wakeup_fd(self._wake_writer.fileno(), warn_on_full_buffer=False)
        selector = selectors.DefaultSelector()
        selector.register(self._control, selectors.EVENT_READ)
        selector.register(self._wake_reader, selectors.EVENT_READ)
        self._report({"event": "ready", "pid": os.getpid()})
        while True:
            ready = {key.fileobj for key, _ in selector.select()}
            try:
                if self._wake_reader in ready:
                    self._wake_reader.recv(4096)
                    self._reap()
                if self._control in ready and not self._take_request():
                    return
            except (BrokenPipeError, ConnectionResetError):
                # The gateway went while its last request was answered.
                return

    def _take_request(self) -> bool:
        packet, descriptors, _, _ = socket.recv_fds(self._control, _PACKET_BYTES, 1)
        if not packet:
            return False
        request = json.loads(packet)
        if request["request"] == "kill":
            # Only children not yet reaped are killed, so the id cannot be another process's by now.
            if request["pid"] in self._children:
                os.kill(request["pid"], signal.SIGKILL)
        else:
            self._fork(request["id"], request["configuration"], descriptors[0])
        return True

    def _fork(self, request_id: int, configuration: str, descriptor: int) -> None:
        pid = os.fork()
        if pid == 0:
            self._become_worker(configuration, descriptor)
        os.close(descriptor)
        self._children.add(pid)
        self._report({"event": "forked", "id": request_id, "pid": pid})

    def _become_worker(self, configuration: str, descriptor: int) -> None:
        status = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            connection = socket.socket(fileno=os.dup2(descriptor, 3))
            self._control.detach()
            self._wake_reader.detach()
            self._wake_writer.detach()
            os.closerange(4, os.sysconf("SC_OPEN_MAX"))
            self._serve(connection, configuration)
            status = 0
        except MemoryError:
            # No room even to say so; the pool knows this status.
            status = 77
        finally:
            # Skips exit handlers: they belong to the process that forked.
            os._exit(status)

    def _reap(self) -> None:
        while self._children:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self._children.discard(pid)
            self._report({"event": "exited", "pid": pid, "code": os.waitstatus_to_exitcode(status)})

    def _report(self, event: dict[str, str | int]) -> None:
        self._control.send(json.dumps(event).encode())


def main() -> None:
    """Runs the zygote on the control socket whose descriptor is the first argument."""
    control = socket.socket(fileno=int(sys.argv[1]))
    for name in _PRELOADED:
        importlib.import_module(name)
    from kubeqpu.qpu_gateway.simulation.tasks import prepare_imports  # noqa: PLC0415
    from kubeqpu.qpu_gateway.workers.child import serve  # noqa: PLC0415

    prepare_imports()
    if len(os.listdir("/proc/self/task")) != 1:
        sys.exit("the process that forks workers must have one thread; a library started others")
    # Keeps the collector from touching, and so copying, the pages that all workers share.
    gc.freeze()
    Zygote(control, serve).run()


if __name__ == "__main__":
    main()
