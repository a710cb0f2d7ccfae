"""Choosing qubits of a device that work well together."""

import math
from collections.abc import Sequence

from kubeqpu.qpu_gateway.simulation.device import DEAD_ERROR, Device

# How many partial lines are kept while lines grow; enough that more change nothing in practice.
_BEAM = 64
# A line carries about this many gates per edge and one readout per qubit.
_GATES_PER_EDGE = 4


def is_connected(device: Device, qubits: Sequence[int]) -> bool:
    """Tells whether working gates join the qubits."""
    neighbours = _neighbours(device)
    wanted, reached, frontier = set(qubits), {qubits[0]}, [qubits[0]]
    while frontier:
        for other in neighbours.get(frontier.pop(), {}):
            if other in wanted and other not in reached:
                reached.add(other)
                frontier.append(other)
    return reached == wanted


def best_line(device: Device, length: int) -> tuple[int, ...] | None:
    """Finds a line of qubits with the least expected error, by a beam search.

    The expected error is -Σ log(1 - e) over readouts and over a few gates per edge.

    Returns:
        Qubits in the order of the line, or None if none that long is found. The same calibration
        gives the same line.
    """
    neighbours = _neighbours(device)
    readout = [_loss(qubit.readout_error) for qubit in device.qubits]
    beam: list[tuple[float, tuple[int, ...]]] = [
        (readout[qubit], (qubit,)) for qubit in range(device.num_qubits)
    ]
    for _ in range(length - 1):
        grown = {
            (*line, other): loss + readout[other] + _GATES_PER_EDGE * edge
            for loss, line in beam
            for other, edge in neighbours.get(line[-1], {}).items()
            if other not in line
        }
        beam = sorted((loss, line) for line, loss in grown.items())[:_BEAM]
    if not beam:
        return None
    _, line = beam[0]
    return min(line, line[::-1])


def _neighbours(device: Device) -> dict[int, dict[int, float]]:
    neighbours: dict[int, dict[int, float]] = {}
    for (low, high), error in sorted(device.edges().items()):
        if error < DEAD_ERROR:
            neighbours.setdefault(low, {})[high] = _loss(error)
            neighbours.setdefault(high, {})[low] = _loss(error)
    return neighbours


def _loss(error: float) -> float:
    return -math.log1p(-min(error, 0.999))
