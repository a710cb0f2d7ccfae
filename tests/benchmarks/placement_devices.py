"""What the replay knows of real devices: read from the calibration snapshots of IBM's fakes."""

import statistics
from collections.abc import Iterable
from dataclasses import dataclass

from kubeqpu.qpu_gateway.simulation.device import DEAD_ERROR, Device
from kubeqpu.qpu_gateway.simulation.fake_backends import load_fake_backend
from tests.benchmarks.report import Raw

# From the best to the worst median two-qubit error; two generations of couplers.
FLEET = (
    "FakeBoston",
    "FakePittsburgh",
    "FakeKingston",
    "FakeMarrakesh",
    "FakeFez",
    "FakeTorino",
    "FakeBrisbane",
    "FakeKyiv",
)
# The best and the worst that are shipped: a factor of seventeen.
EXTREMES = (
    "FakeBoston",
    "FakePittsburgh",
    "FakeFez",
    "FakeTorino",
    "FakeBrisbane",
    "FakeBrussels",
    "FakeKyiv",
    "FakeCusco",
)
ALIKE = ("FakeFez",) * 8


@dataclass(frozen=True)
class Snapshot:
    """A device as its calibration shows it; dead edges are left out.

    Attributes:
        name: Class of the fake backend.
        num_qubits: Width.
        median_one_qubit_error: As the gateway reports it.
        median_two_qubit_error: As the gateway reports it.
        median_readout_error: As the gateway reports it.
        t1_seconds: Median relaxation time.
        t2_seconds: Median dephasing time.
        gate_seconds: Median duration of a two-qubit gate.
        measure_seconds: Median duration of a measurement.
        edge_errors: Error of the two-qubit gate on every edge.
        readout_errors: Readout error of every qubit.
    """

    name: str
    num_qubits: int
    median_one_qubit_error: float
    median_two_qubit_error: float
    median_readout_error: float
    t1_seconds: float
    t2_seconds: float
    gate_seconds: float
    measure_seconds: float
    edge_errors: tuple[float, ...]
    readout_errors: tuple[float, ...]


def read_snapshot(name: str) -> Snapshot:
    """Reads one fake backend, such as `FakeFez`, as the gateway's fake provider does.

    Raises:
        ProviderError: If there is no such backend.
    """
    device = load_fake_backend(name)
    readout = [qubit.readout_error for qubit in device.qubits]
    return Snapshot(
        name=name,
        num_qubits=device.num_qubits,
        median_one_qubit_error=device.median_gate_error(1),
        median_two_qubit_error=device.median_gate_error(2),
        median_readout_error=statistics.median(readout),
        t1_seconds=_median(qubit.t1 for qubit in device.qubits),
        t2_seconds=_median(qubit.t2 for qubit in device.qubits),
        gate_seconds=_median(gate.duration for gate in device.gates(2)),
        measure_seconds=_median(_measure_durations(device)),
        edge_errors=tuple(error for error in device.edges().values() if error < DEAD_ERROR),
        readout_errors=tuple(readout),
    )


def tabulate(snapshots: Iterable[Snapshot]) -> list[Raw]:
    """Lists the medians the replay started from, with the spread over edges."""
    rows: list[Raw] = []
    for item in snapshots:
        deciles = statistics.quantiles(item.edge_errors, n=10)
        rows.append(
            {
                "device": item.name,
                "num_qubits": item.num_qubits,
                "median_two_qubit_error": item.median_two_qubit_error,
                "edge_error_p10": deciles[0],
                "edge_error_p90": deciles[-1],
                "median_readout_error": item.median_readout_error,
                "t1_seconds": item.t1_seconds,
                "t2_seconds": item.t2_seconds,
                "gate_seconds": item.gate_seconds,
                "measure_seconds": item.measure_seconds,
            }
        )
    return rows


def _measure_durations(device: Device) -> Iterable[float | None]:
    for instruction in device.instructions:
        if instruction.name == "measure":
            yield from (gate.duration for gate in instruction.gates)


def _median(values: Iterable[float | None]) -> float:
    return statistics.median(value for value in values if value)
