"""Results as they go on the wire."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from qiskit import QuantumCircuit

from kubeqpu.proto.v1 import gateway_pb2
from kubeqpu.qpu_gateway.simulation.sampling import (
    Histogram,
    pack_bits,
    row_generator,
    unpack_bits,
)

# The stream of a row's seed from which the order of its shots is drawn.
_ORDER_STREAM = 2**63


def counts_result(histograms: Sequence[Histogram], num_clbits: int) -> gateway_pb2.CountsResult:
    """Writes rows as counts."""
    rows = [
        gateway_pb2.RowCounts(outcomes=row.outcomes.tobytes(), counts=row.counts.tolist())
        for row in histograms
    ]
    return gateway_pb2.CountsResult(rows=rows, num_clbits=num_clbits)


def bits_result(
    histograms: Sequence[Histogram], seeds: NDArray[np.uint64], circuit: QuantumCircuit
) -> gateway_pb2.BitsResult:
    """Writes rows as shots per classical register, in the layout of Qiskit's BitArray."""
    orders = [row_generator(int(seed), _ORDER_STREAM) for seed in seeds]
    shots = [row.shots_in_order(order) for row, order in zip(histograms, orders, strict=True)]
    packed = np.concatenate(shots)
    registers = []
    offset = 0
    for register in circuit.cregs:
        data = packed
        if len(circuit.cregs) > 1:
            bits = unpack_bits(packed, circuit.num_clbits)[:, offset : offset + register.size]
            data = pack_bits(bits)
        registers.append(
            gateway_pb2.RegisterBits(
                name=register.name, num_bits=register.size, data=data.tobytes()
            )
        )
        offset += register.size
    return gateway_pb2.BitsResult(registers=registers, shots=[len(row) for row in shots])
