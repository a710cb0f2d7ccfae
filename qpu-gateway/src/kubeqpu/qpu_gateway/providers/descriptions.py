"""Devices as the gateway reports them on the wire."""

import statistics
from collections.abc import Iterable
from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp

from kubeqpu.common.api import shorten_seconds
from kubeqpu.proto.v1 import qpu_pb2
from kubeqpu.qpu_gateway.simulation.device import Device


def describe_calibration(device: Device) -> qpu_pb2.Calibration:
    """Summarises a calibration; dead edges are counted and left out of the medians."""
    taken = Timestamp()
    taken.FromDatetime(device.calibrated_at)
    return qpu_pb2.Calibration(
        id=device.calibration_id,
        time=taken,
        median_one_qubit_error=device.median_gate_error(1),
        median_two_qubit_error=device.median_gate_error(2),
        median_readout_error=_median(qubit.readout_error for qubit in device.qubits),
        median_t1_seconds=_median(qubit.t1 for qubit in device.qubits),
        median_t2_seconds=_median(qubit.t2 for qubit in device.qubits),
        eplg=device.eplg,
        dead_edges=device.dead_edges(),
    )


def describe_age(
    calibration_id: str, taken: datetime, now: datetime, max_age_hours: float | None
) -> qpu_pb2.Condition:
    """Gives the condition `Calibrated`; a limit of None accepts any age.

    The message of a recent calibration has no age in it, so that it does not change all the time.
    """
    what = f"Calibration {calibration_id} of {taken:%Y-%m-%dT%H:%M:%SZ}"
    hours = (now - taken).total_seconds() / 3600
    if max_age_hours is None or hours <= max_age_hours:
        return qpu_pb2.Condition(
            type="Calibrated",
            status="True",
            reason="CalibrationRecent",
            message=f"{what} counts{'' if max_age_hours is None else f' for {max_age_hours:g} h'}.",
        )
    return qpu_pb2.Condition(
        type="Calibrated",
        status="False",
        reason="CalibrationTooOld",
        message=f"{what} is {shorten_seconds(hours * 3600)} old, above the limit of "
        f"{max_age_hours:g} h; wait for the next one, or raise the limit.",
    )


def describe_target(device: Device) -> qpu_pb2.Target:
    """Writes down everything that Qiskit's Target is rebuilt from."""
    return qpu_pb2.Target(
        num_qubits=device.num_qubits,
        dt=device.dt,
        instructions=[
            qpu_pb2.InstructionProperties(
                name=item.name,
                parameters=item.parameters,
                gates=[
                    qpu_pb2.GateProperties(
                        qubits=gate.qubits,
                        error=(
                            device.qubits[gate.qubits[0]].readout_error
                            if item.name == "measure"
                            else gate.error
                        ),
                        duration_seconds=gate.duration,
                    )
                    for gate in item.gates
                ],
            )
            for item in device.instructions
        ],
        qubits=[
            qpu_pb2.QubitProperties(
                t1_seconds=qubit.t1,
                t2_seconds=qubit.t2,
                prob_meas1_prep0=qubit.prob_meas1_prep0,
                prob_meas0_prep1=qubit.prob_meas0_prep1,
            )
            for qubit in device.qubits
        ],
    )


def _median(values: Iterable[float | None]) -> float:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else 0.0
