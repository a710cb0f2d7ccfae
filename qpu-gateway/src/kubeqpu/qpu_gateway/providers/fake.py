"""Fake devices: IBM's calibration snapshots, simulated with their noise, that tests can drive."""

import asyncio
import json
from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator

from kubeqpu.proto.v1 import gateway_pb2, qpu_pb2
from kubeqpu.qpu_gateway.errors import ProviderError, ProviderUnavailableError
from kubeqpu.qpu_gateway.providers.base import Batch, QPUSettings
from kubeqpu.qpu_gateway.providers.descriptions import (
    describe_age,
    describe_calibration,
    describe_target,
)
from kubeqpu.qpu_gateway.simulation.device import Device, restrict
from kubeqpu.qpu_gateway.simulation.drift import CalibrationDrift, drift_calibration
from kubeqpu.qpu_gateway.simulation.subsets import best_line, is_connected
from kubeqpu.qpu_gateway.workers import WorkerPool


class FakeQueue(BaseModel):
    """The vendor's queue: jobs waiting, and seconds that each takes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pending: int = Field(default=0, ge=0)
    service_seconds: float = Field(default=0.0, ge=0)


class FakeState(BaseModel):
    """What can change while the gateway runs; also what the control file holds.

    Attributes:
        queue: The vendor's queue, which is reported and not waited for.
        outage: Why the device is away, or False.
        calibration: How the calibration differs from the snapshot.
        delay_seconds: Time that each batch takes on top of its simulation.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    queue: FakeQueue = FakeQueue()
    outage: bool | str = False
    calibration: CalibrationDrift = CalibrationDrift()
    delay_seconds: float = Field(default=0.0, ge=0)


class FakeOptions(FakeState):
    """Options of a fake device.

    Attributes:
        backend: Class of `qiskit_ibm_runtime.fake_provider`, such as `FakeFez`.
        qubits: Physical qubits to use, relabelled 0, 1, ...; all if absent.
        num_qubits: Use the best line of this many qubits instead.
        max_age_hours: Age beyond which a calibration no longer counts; absent: any age does.
        max_shots: Most shots of one row.
        max_circuits: Most rows of one batch.
        control_file: JSON with keys of `FakeState`, read again whenever it changes.
    """

    backend: str
    qubits: tuple[int, ...] | None = None
    num_qubits: int | None = Field(default=None, ge=1)
    max_age_hours: float | None = Field(default=None, gt=0)
    max_shots: int = Field(default=1_000_000, ge=1, le=2**31 - 1)
    max_circuits: int = Field(default=1000, ge=1)
    control_file: Path | None = None

    @model_validator(mode="after")
    def _one_choice_of_qubits(self) -> "FakeOptions":
        if self.qubits is not None and self.num_qubits is not None:
            raise ValueError("give qubits or num_qubits, not both")
        return self


class FakeProvider:
    """Runs circuits on a simulated noisy device."""

    def __init__(self, settings: QPUSettings, workers: WorkerPool) -> None:
        self._settings = settings
        self._workers = workers
        try:
            self._options = FakeOptions.model_validate(settings.options)
        except ValidationError as error:
            raise ProviderError(
                f"The options of QPU {settings.name} are not valid: {error}"
            ) from error
        self._snapshot: Device | None = None
        self._started_at = datetime.now(UTC)
        self._control_seen: tuple[int, int] | None = None
        self._state: FakeState = FakeState.model_validate(
            self._options.model_dump(include=set(FakeState.model_fields))
        )
        self._current: tuple[CalibrationDrift, Device, qpu_pb2.QPU] | None = None

    @property
    def backend_name(self) -> str:
        """Class of the fake backend."""
        return self._options.backend

    @property
    def simulator(self) -> bool:
        """It computes what a noisy device would return."""
        return True

    async def start(self) -> None:
        """Reads the backend and picks its qubits; idempotent.

        Raises:
            ProviderError: If there is no such backend, or its qubits are not connected.
        """
        await self._workers.start()
        if self._snapshot is None:
            head: dict[str, JsonValue] = {"task": "device", "backend": self._options.backend}
            device = Device.model_validate_json(await self._workers.load(head))
            self._snapshot = self._chosen(device)
        self._read_control_file()

    async def describe(self, include_target: bool = False) -> qpu_pb2.QPU:
        """Reports the device as it is now; see `Provider`."""
        self._read_control_file()
        qpu = qpu_pb2.QPU(
            name=self._settings.name,
            provider=self._settings.provider,
            backend_name=self.backend_name,
            simulator=self.simulator,
            noisy=True,
            slots=self._settings.slots,
            max_shots=self._options.max_shots,
            max_circuits=self._options.max_circuits,
            queue=qpu_pb2.Queue(
                provider_pending=self._state.queue.pending,
                estimated_wait_seconds=self._state.queue.pending
                * self._state.queue.service_seconds,
            ),
            capabilities=qpu_pb2.Capabilities(
                transpile=True,
                mid_circuit_measurement=True,
                control_flow=True,
                execution_modes=["job"],
            ),
        )
        if self._snapshot is None:
            qpu.conditions.add(
                type="Ready", status="False", reason="NotStarted", message="The provider starts."
            )
            return qpu
        device, described = self._device()
        qpu.MergeFrom(described)
        qpu.conditions.extend(self._conditions(device, described.calibration.id))
        if include_target:
            qpu.target.CopyFrom(describe_target(device))
        return qpu

    async def run(self, batch: Batch) -> AsyncGenerator[gateway_pb2.ResultChunk, None]:
        """Runs a batch in a worker of its tenant; see `Provider`."""
        self._read_control_file()
        if self._state.outage is not False or self._snapshot is None:
            raise ProviderUnavailableError(f"{self._settings.name} is away: {self._outage()}.")
        if self._state.delay_seconds:
            await asyncio.sleep(self._state.delay_seconds)
        device, described = self._device()
        calibration_id = described.calibration.id
        settings: dict[str, JsonValue] = {
            "qpu": self._settings.name,
            "calibration_id": calibration_id,
            "device": device.model_dump(mode="json"),
            "threads": self._workers.limits.simulator_threads,
        }
        engine: dict[str, JsonValue] = {"kind": "noisy", "settings": settings}
        key = f"{self._settings.name} {calibration_id}"
        async for chunk in self._workers.run(batch, engine, key):
            yield chunk

    async def close(self) -> None:
        """Nothing to let go of: the workers belong to the gateway."""

    def _chosen(self, device: Device) -> Device:
        options = self._options
        if options.num_qubits is not None:
            line = best_line(device, options.num_qubits)
            if line is None:
                raise ProviderError(
                    f"{options.backend} has no line of {options.num_qubits} working qubits."
                )
            return restrict(device, line)
        if options.qubits is None:
            return device
        outside = [qubit for qubit in options.qubits if not 0 <= qubit < device.num_qubits]
        if outside or len(set(options.qubits)) != len(options.qubits) or not options.qubits:
            raise ProviderError(
                f"The qubits of QPU {self._settings.name} must be different ones of 0 to "
                f"{device.num_qubits - 1}."
            )
        if not is_connected(device, options.qubits):
            raise ProviderError(
                f"The qubits {list(options.qubits)} of {options.backend} are not connected by "
                "working gates; choose others, or give num_qubits."
            )
        return restrict(device, options.qubits)

    def _device(self) -> tuple[Device, qpu_pb2.QPU]:
        """The device with its calibration now, and what is reported of both."""
        assert self._snapshot is not None
        drift = self._state.calibration
        if self._current is None or self._current[0] != drift:
            device = drift_calibration(self._snapshot, drift, self._started_at)
            # Kept: to digest and summarise hundreds of gates takes longer than all the rest.
            described = qpu_pb2.QPU(
                num_qubits=device.num_qubits,
                basis_gates=[item.name for item in device.instructions if item.gates],
                calibration=describe_calibration(device),
            )
            self._current = (drift, device, described)
        return self._current[1], self._current[2]

    def _read_control_file(self) -> None:
        """Takes over the control file if it changed; one that cannot be read changes nothing."""
        path = self._options.control_file
        if path is None:
            return
        try:
            status = path.stat()
            seen = (status.st_mtime_ns, status.st_size)
            if seen == self._control_seen:
                return
            given = json.loads(path.read_text())
            base = self._options.model_dump(include=set(FakeState.model_fields))
            self._state = FakeState.model_validate(base | given)
            self._control_seen = seen
        except FileNotFoundError:
            return
        except (OSError, ValueError, TypeError):
            # Half written, or wrong: the state stays, and the file is read again next time.
            return

    def _outage(self) -> str:
        return self._state.outage if isinstance(self._state.outage, str) else "there is an outage"

    def _conditions(self, device: Device, calibration_id: str) -> list[qpu_pb2.Condition]:
        away = self._state.outage is not False
        status, reason = ("False", "Outage") if away else ("True", "SimulatorAvailable")
        message = f"The provider reports: {self._outage()}." if away else ""
        return [
            qpu_pb2.Condition(type="Ready", status=status, reason=reason, message=message),
            qpu_pb2.Condition(type="Accepting", status=status, reason=reason, message=message),
            describe_age(
                calibration_id,
                device.calibrated_at,
                datetime.now(UTC),
                self._options.max_age_hours,
            ),
        ]
