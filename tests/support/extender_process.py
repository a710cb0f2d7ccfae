"""The scheduler extender as a process of its own."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass
class ExtenderProcess:
    """A running extender.

    Attributes:
        process: The process.
        port: Where the scheduler asks.
        health_port: Where health is.
        metrics_port: Where metrics are.
    """

    process: subprocess.Popen[bytes]
    port: int
    health_port: int
    metrics_port: int

    def is_ready(self) -> bool:
        """Tells whether it makes decisions."""
        try:
            self.read(self.health_port, "readyz")
        except (urllib.error.URLError, OSError):
            return False
        return True

    def read(self, port: int, path: str) -> str:
        """Reads a page of health or metrics."""
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=5) as reply:
            return str(reply.read().decode())

    def memory_mib(self) -> float:
        """Reads its resident memory."""
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(r"^VmRSS:\s+(\d+) kB", text, re.M)
        assert found is not None
        return round(int(found[1]) / 1024, 1)

    def cpu_seconds(self) -> float:
        """Reads how much processor time it took."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self, seconds: float = 10.0) -> int:
        """Asks it to end; gives its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(seconds)


def write_kubeconfig(folder: Path, url: str) -> Path:
    """Writes a kubeconfig for an API server without authentication."""
    path = folder / "kubeconfig"
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "stand-in", "cluster": {"server": url}}],
        "users": [{"name": "anyone", "user": {}}],
        "contexts": [{"name": "stand-in", "context": {"cluster": "stand-in", "user": "anyone"}}],
        "current-context": "stand-in",
    }
    path.write_text(json.dumps(content))
    return path


@contextmanager
def extender_process(
    kubeconfig: Path,
    *flags: str,
    launch: tuple[str, ...] = (),
    ports: tuple[int, int, int] | None = None,
) -> Iterator[ExtenderProcess]:
    """Runs the extender while the context is open; it is ready when that begins.

    Args:
        kubeconfig: How it reaches the API server.
        flags: Further flags.
        launch: What Python is to run before the module, such as a profiler.
        ports: Where it listens, its own port first, then those of health and metrics; any free
            ones if not given.
    """
    ports = ports or free_ports()
    command = [
        sys.executable, *launch, "-m", "kubeqpu.scheduler_extender", f"--port={ports[0]}",
        f"--health-port={ports[1]}", f"--metrics-port={ports[2]}", "--health-address=127.0.0.1",
        "--metrics-address=127.0.0.1", "--log-level=warning", *flags,
    ]  # fmt: skip
    process = subprocess.Popen(command, env={**os.environ, "KUBECONFIG": str(kubeconfig)})
    found = ExtenderProcess(process, *ports)
    try:
        deadline = time.monotonic() + 60
        while not found.is_ready():
            assert process.poll() is None, "the extender ended"
            assert time.monotonic() < deadline, "the extender does not become ready"
            time.sleep(0.05)
        yield found
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def free_ports() -> tuple[int, int, int]:
    """Finds three ports that nobody uses."""
    with socket.socket() as one, socket.socket() as two, socket.socket() as three:
        for found in (one, two, three):
            found.bind(("127.0.0.1", 0))
        return (one.getsockname()[1], two.getsockname()[1], three.getsockname()[1])
