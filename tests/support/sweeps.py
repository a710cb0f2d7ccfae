"""A job with several rows, whose outcomes a test can foretell."""

import numpy as np
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter

from kubeqpu.client import SamplerEntry, SamplerJob, circuits_to_qpy

ROWS = 10


def rotated_pair() -> bytes:
    circuit = QuantumCircuit(2, 2)
    circuit.ry(Parameter("t"), 0)
    circuit.cx(0, 1)
    circuit.measure([0, 1], [0, 1])
    return circuits_to_qpy(circuit)


def sweep(seed: int = 1, shots: int = 50) -> SamplerJob:
    angles = np.linspace(0, np.pi, ROWS)[:, None]
    return SamplerJob(circuits=rotated_pair(), entries=[SamplerEntry(shots, angles)], seed=seed)
