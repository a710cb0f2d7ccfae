"""The worker's side: limits itself, then serves one task after another for one tenant."""

import ctypes
import gc
import json
import os
import resource
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

from kubeqpu.qpu_gateway.errors import CircuitError, GatewayError
from kubeqpu.qpu_gateway.simulation.tasks import TaskRunner
from kubeqpu.qpu_gateway.workers.frames import Frame, receive_frame_blocking
from kubeqpu.qpu_gateway.workers.limits import WorkerLimits

_OBJECTS_PER_COLLECTION = 50_000
_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38


def serve(connection: socket.socket, configuration: str) -> None:
    """Serves tasks until the pool closes the connection.

    Args:
        connection: Stream socket to the pool.
        configuration: JSON of `{"limits": WorkerLimits, "zygote": process id}`.
    """
    settings = json.loads(configuration)
    limits = WorkerLimits.model_validate(settings["limits"])
    _confine(limits, settings["zygote"])
    # Circuits are many small objects that live until their task ends: looking for garbage among
    # them every 700 allocations only takes time.
    gc.set_threshold(_OBJECTS_PER_COLLECTION)
    runner = TaskRunner(limits)
    while (request := receive_frame_blocking(connection)) is not None:
        for frame in _answer(runner, request):
            connection.sendall(frame.encode())


def _answer(runner: TaskRunner, request: Frame) -> Iterator[Frame]:
    try:
        yield from runner.run(request)
        yield Frame({"event": "done"})
    except CircuitError as error:
        yield Frame({"event": "error", "kind": "circuit", "message": str(error)})
    except MemoryError as error:
        # What was half built may hold the memory still: end, and let the pool start a fresh one.
        yield Frame({"event": "error", "kind": "memory", "message": str(error)})
        os._exit(0)
    except GatewayError as error:
        yield Frame({"event": "error", "kind": "provider", "message": str(error)})
    except Exception as error:  # the boundary of the process: whatever it is, it is reported
        yield Frame(
            {"event": "error", "kind": "internal", "message": f"{type(error).__name__}: {error}"}
        )


def _confine(limits: WorkerLimits, zygote: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if os.getppid() != zygote:
        # The zygote died before the first prctl took effect.
        os._exit(0)
    address_space = _address_space_bytes() + limits.memory_bytes
    resource.setrlimit(resource.RLIMIT_AS, (address_space, address_space))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # When the machine itself runs out, the kernel should take a worker and not the gateway.
    Path("/proc/self/oom_score_adj").write_text("900")


def _address_space_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * os.sysconf("SC_PAGE_SIZE")
