"""Runs a gateway beside the demo, as a process of its own on a unix socket."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from kubeqpu.client import GatewayClient, UnavailableError

CONFIG = Path(__file__).parent / "gateway.yaml"
START_SECONDS = 90.0


@contextmanager
def run_gateway(config: Path = CONFIG) -> Iterator[GatewayClient]:
    """Starts a gateway, yields a client of it, and stops it again.

    Args:
        config: Configuration file that names its QPUs.

    Yields:
        A client, once all its QPUs are ready.

    Raises:
        RuntimeError: If the gateway ends while it starts; the message holds its last words.
    """
    # Sockets have short paths, and data of a demo need not outlive it.
    with tempfile.TemporaryDirectory(prefix="kubeqpu-") as name:
        directory = Path(name)
        address = f"unix:{directory / 'gateway.sock'}"
        log = directory / "gateway.log"
        command = [
            sys.executable, "-m", "kubeqpu.qpu_gateway", "--config", str(config),
            "--listen", address, "--data-dir", str(directory / "data"), "--metrics-port", "0",
        ]  # fmt: skip
        with log.open("wb") as output:
            process = subprocess.Popen(command, stdout=output, stderr=output)  # noqa: S603
        try:
            with GatewayClient(address, patience_seconds=1.0) as client:
                _wait(process, client, log)
                yield client
        finally:
            process.terminate()
            process.wait()


def _wait(process: subprocess.Popen[bytes], client: GatewayClient, log: Path) -> None:
    """Waits until every QPU is ready: their providers start after the gateway answers."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        with suppress(UnavailableError):
            if all(qpu.qpu.is_true("Ready") for qpu in client.qpus()):
                return
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"The gateway did not start:\n{log.read_text()}")
        time.sleep(0.2)
