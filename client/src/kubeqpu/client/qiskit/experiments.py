"""Results of a gateway's job in the form of Qiskit's `Result`."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from qiskit import QuantumCircuit
from qiskit.result import Result
from qiskit.result.models import ExperimentResult, ExperimentResultData

from kubeqpu.client.results import Bits, Counts, EntryResult, JobResult


def make_result(backend_name: str, circuits: Sequence[QuantumCircuit], result: JobResult) -> Result:
    """Makes Qiskit's result of a job with one entry of one row per circuit."""
    return Result(
        backend_name=backend_name,
        backend_version="",
        job_id=result.record.id,
        success=True,
        results=[
            _make_experiment(circuit, entry, result.record.seed)
            for circuit, entry in zip(circuits, result.entries, strict=True)
        ],
    )


def _make_experiment(circuit: QuantumCircuit, entry: EntryResult, seed: int) -> ExperimentResult:
    memory = None
    if isinstance(entry.data, Counts):
        counts = {hex(outcome): count for outcome, count in entry.counts.row(0).items()}
    else:
        counts, memory = _read_memory(circuit, entry.bits)
    data = ExperimentResultData(counts=counts)
    if memory is not None:
        data = ExperimentResultData(counts=counts, memory=memory)
    return ExperimentResult(
        shots=sum(counts.values()),
        success=True,
        data=data,
        seed=seed,
        header={
            "name": circuit.name,
            "memory_slots": circuit.num_clbits,
            "creg_sizes": [[register.name, register.size] for register in circuit.cregs],
            "metadata": circuit.metadata,
        },
    )


def _read_memory(circuit: QuantumCircuit, bits: Bits) -> tuple[dict[str, int], list[str]]:
    """Returns counts and every shot's outcome; only distinct outcomes pass through Python."""
    packed = _pack_clbits(circuit, bits)
    lines = packed.view([("", packed.dtype, packed.shape[1])]).ravel()
    distinct, inverse, counts = np.unique(lines, return_inverse=True, return_counts=True)
    texts = [hex(int.from_bytes(line.tobytes(), "big")) for line in distinct]
    memory: list[str] = np.array(texts, dtype=object)[inverse].tolist()
    return dict(zip(texts, counts.tolist(), strict=True)), memory


def _pack_clbits(circuit: QuantumCircuit, bits: Bits) -> NDArray[np.uint8]:
    """Puts the registers' bits where their clbits are: (shots, bytes), big-endian."""
    width = 8 * -(-circuit.num_clbits // 8)
    clbits = np.zeros((int(bits.offsets[-1]), width), dtype=np.uint8)
    for register in circuit.cregs:
        # Least significant bit first, so that column i is bit i.
        unpacked = np.unpackbits(bits.registers[register.name], axis=1)[:, ::-1]
        columns = [circuit.find_bit(bit).index for bit in register]
        clbits[:, columns] = unpacked[:, : register.size]
    return np.packbits(clbits[:, ::-1], axis=1)
