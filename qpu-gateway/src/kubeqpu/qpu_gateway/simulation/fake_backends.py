"""Reading IBM's fake backends, which ship real calibration snapshots, as plain data."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

from qiskit.circuit import Parameter
from qiskit.circuit.library import get_standard_gate_name_mapping
from qiskit.providers import BackendV2

from kubeqpu.qpu_gateway.errors import ProviderError
from kubeqpu.qpu_gateway.simulation.device import (
    Device,
    GateCalibration,
    InstructionCalibration,
    QubitCalibration,
)

if TYPE_CHECKING:
    from qiskit_ibm_runtime.models import BackendProperties


def load_fake_backend(class_name: str) -> Device:
    """Reads one fake backend.

    Args:
        class_name: Such as `FakeFez`.

    Raises:
        ProviderError: If there is no such backend.
    """
    # Takes a second to import, which only the worker that reads a backend pays.
    from qiskit_ibm_runtime import fake_provider  # noqa: PLC0415

    known = {
        name: value
        for name, value in vars(fake_provider).items()
        if inspect.isclass(value) and issubclass(value, BackendV2) and name.startswith("Fake")
    }
    if class_name not in known:
        raise ProviderError(
            f"qiskit-ibm-runtime has no fake backend {class_name!r}; there are "
            f"{', '.join(sorted(known))}."
        )
    return _device(known[class_name]())


def _device(backend: BackendV2) -> Device:
    properties = backend.properties()
    layer_fidelities = {
        item.name: float(item.value) for item in getattr(properties, "general", None) or []
    }
    return Device(
        backend_name=backend.name,
        num_qubits=backend.num_qubits,
        calibrated_at=properties.last_update_date,
        dt=backend.dt,
        instructions=tuple(_instructions(backend)),
        qubits=tuple(_qubit(backend, properties, q) for q in range(backend.num_qubits)),
        layer_fidelity_100=layer_fidelities.get("lf_100"),
    )


def _instructions(backend: BackendV2) -> list[InstructionCalibration]:
    found = []
    standard = get_standard_gate_name_mapping()
    for name in sorted(backend.target.operation_names):
        operation = backend.target.operation_from_name(name)
        if inspect.isclass(operation):
            # Control flow: simulated, but not calibrated.
            found.append(InstructionCalibration(name=name))
            continue
        if name not in standard:
            # A vendor's variant such as `measure_2`: Qiskit cannot build it from its name, and
            # neither the transpiler nor the simulator has a meaning for it.
            continue
        gates = [
            GateCalibration(
                qubits=qubits,
                error=None if entry is None else entry.error,
                duration=None if entry is None else entry.duration,
            )
            for qubits, entry in sorted(backend.target[name].items())
        ]
        parameters = tuple(
            value.name if isinstance(value, Parameter) else str(value) for value in operation.params
        )
        found.append(InstructionCalibration(name=name, parameters=parameters, gates=tuple(gates)))
    return found


def _qubit(backend: BackendV2, properties: BackendProperties, qubit: int) -> QubitCalibration:
    values = backend.target.qubit_properties[qubit]
    measured = properties.qubit_property(qubit)
    mean = backend.target["measure"][(qubit,)].error or 0.0

    def probability(name: str) -> float:
        return float(measured[name][0]) if name in measured else mean

    return QubitCalibration(
        t1=values.t1,
        t2=values.t2,
        frequency=values.frequency,
        prob_meas1_prep0=probability("prob_meas1_prep0"),
        prob_meas0_prep1=probability("prob_meas0_prep1"),
    )
