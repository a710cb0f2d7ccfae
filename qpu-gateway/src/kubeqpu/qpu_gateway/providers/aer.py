"""The ideal simulator: Qiskit Aer in worker processes."""

import hashlib
import json
import math
from collections.abc import AsyncGenerator
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from kubeqpu.proto.v1 import gateway_pb2, qpu_pb2
from kubeqpu.qpu_gateway.errors import ProviderError
from kubeqpu.qpu_gateway.providers.base import Batch, QPUSettings
from kubeqpu.qpu_gateway.workers import WorkerPool

# Bytes of an amplitude, and how many copies of a state a simulation may hold at once.
_AMPLITUDE_BYTES = 16
_STATE_COPIES = 2


class AerOptions(BaseModel):
    """Options of an ideal simulator.

    Attributes:
        num_qubits: Widest circuit it takes. Circuits whose statevector would not fit into a
            worker's memory run as matrix product states.
        device: What Aer computes on.
        max_shots: Most shots of one row.
        max_circuits: Most rows of one batch.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_qubits: int = Field(default=30, ge=1, le=1000)
    device: Literal["CPU", "GPU"] = "CPU"
    max_shots: int = Field(default=10_000_000, ge=1, le=2**31 - 1)
    max_circuits: int = Field(default=1000, ge=1)


class AerProvider:
    """Runs circuits on an ideal simulator."""

    def __init__(self, settings: QPUSettings, workers: WorkerPool) -> None:
        self._settings = settings
        self._workers = workers
        try:
            self._options = AerOptions.model_validate(settings.options)
        except ValidationError as error:
            raise ProviderError(
                f"The options of QPU {settings.name} are not valid: {error}"
            ) from error
        self._engine = self._engine_settings()
        self._engine_key = engine_key(self._engine)

    @property
    def backend_name(self) -> str:
        """Aer's simulator on the chosen device."""
        return f"aer_simulator_{self._options.device.lower()}"

    @property
    def simulator(self) -> bool:
        """It is one."""
        return True

    async def start(self) -> None:
        """Starts the workers and checks that Aer has the device; idempotent.

        Raises:
            ProviderError: If Aer lacks the device.
        """
        await self._workers.start()
        if self._options.device != "CPU":
            devices = json.loads(await self._workers.load({"task": "devices"}))
            if self._options.device not in devices:
                raise ProviderError(
                    f"QPU {self._settings.name} asks for device {self._options.device}, but Aer "
                    f"offers {', '.join(devices)} here; install qiskit-aer-gpu on a node with a "
                    "GPU, or set device: CPU."
                )

    async def describe(self, include_target: bool = False) -> qpu_pb2.QPU:
        """Reports an ideal QPU that is always ready; it has no target to respect."""
        del include_target
        options = self._options
        return qpu_pb2.QPU(
            name=self._settings.name,
            provider=self._settings.provider,
            backend_name=self.backend_name,
            simulator=self.simulator,
            noisy=False,
            num_qubits=options.num_qubits,
            slots=self._settings.slots,
            max_shots=options.max_shots,
            max_circuits=options.max_circuits,
            conditions=[
                qpu_pb2.Condition(type="Ready", status="True", reason="SimulatorAvailable"),
                qpu_pb2.Condition(type="Accepting", status="True", reason="SimulatorAvailable"),
                qpu_pb2.Condition(type="Calibrated", status="True", reason="Ideal"),
            ],
            queue=qpu_pb2.Queue(),
            capabilities=qpu_pb2.Capabilities(
                exact=True,
                transpile=True,
                mid_circuit_measurement=True,
                control_flow=True,
                execution_modes=["job"],
            ),
        )

    def run(self, batch: Batch) -> AsyncGenerator[gateway_pb2.ResultChunk, None]:
        """Runs a batch in a worker of its tenant; see `Provider`."""
        return self._workers.run(batch, self._engine, self._engine_key)

    async def close(self) -> None:
        """Nothing to let go of: the workers belong to the gateway."""

    def _engine_settings(self) -> dict[str, JsonValue]:
        limits = self._workers.limits
        fitting = int(math.log2(limits.memory_bytes / _AMPLITUDE_BYTES / _STATE_COPIES))
        settings: dict[str, JsonValue] = {
            "qpu": self._settings.name,
            "num_qubits": self._options.num_qubits,
            "device": self._options.device,
            "threads": limits.simulator_threads,
            "max_statevector_qubits": fitting,
            "max_operations": limits.max_operations,
        }
        return {"kind": "ideal", "settings": settings}


def engine_key(engine: dict[str, JsonValue]) -> str:
    """Names an engine's settings by their content."""
    return hashlib.sha256(json.dumps(engine, sort_keys=True).encode()).hexdigest()[:24]
