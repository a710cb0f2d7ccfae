"""A real gateway in a process of its own, for tests."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

import grpc
import yaml
from grpc_health.v1 import health_pb2, health_pb2_grpc

START_SECONDS = 60.0
STOP_SECONDS = 30.0


class GatewayProcess:
    """`python -m kubeqpu.qpu_gateway` on a unix socket; may be stopped, killed and started again.

    Args:
        directory: Empty directory for configuration, data, socket and log; its path should be
            short, because socket paths are limited to about a hundred characters.
        qpus: The configuration's `qpus` section.
        settings: Other settings of the gateway, by name.
        environment: More environment variables.
    """

    def __init__(
        self,
        directory: Path,
        qpus: Sequence[Mapping[str, object]],
        settings: Mapping[str, object] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._environment = dict(environment or {})
        self.address = f"unix:{directory / 'gateway.sock'}"
        self.log = directory / "gateway.log"
        self._config = directory / "gateway.yaml"
        content = {
            "qpus": [dict(qpu) for qpu in qpus],
            "listen": [self.address],
            "data_dir": str(directory / "data"),
            "metrics_port": None,
            "stop_grace_seconds": 5.0,
            **(settings or {}),
        }
        self._config.write_text(yaml.safe_dump(content), encoding="utf-8")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Process id of the running gateway."""
        assert self._process is not None, "the gateway is not running"
        return self._process.pid

    def start(self) -> Self:
        """Starts the gateway and waits until it serves.

        Raises:
            RuntimeError: If it ends or does not serve in time, with its log.
        """
        environment = {
            key: value for key, value in os.environ.items() if not key.startswith("KUBEQPU_")
        }
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "kubeqpu.qpu_gateway", "--config", str(self._config)],
                env={**environment, "OMP_NUM_THREADS": "1", **self._environment},
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._is_serving():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                log_text = self.log.read_text(encoding="utf-8", errors="replace")
                raise RuntimeError(f"The gateway does not serve:\n{log_text}")
            time.sleep(0.05)
        return self

    def stop(self) -> int:
        """Ends the gateway as Kubernetes does, and returns its exit status."""
        if self._process is None:
            return 0
        self._process.send_signal(signal.SIGTERM)
        try:
            status = self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise
        self._process = None
        return status

    def kill(self) -> None:
        """Ends the gateway at once, at whatever line it is."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _is_serving(self) -> bool:
        with grpc.insecure_channel(self.address) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            try:
                answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=1.0)
            except grpc.RpcError:
                return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)
