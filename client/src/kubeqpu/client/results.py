"""Results as numpy arrays.

Rows of one entry lie after one another; `offsets` tells where each begins, so that reductions over
many rows need no loop (`numpy.add.reduceat`) and no row is copied to look at it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kubeqpu.client import errors
from kubeqpu.client.records import JobRecord


@dataclass(frozen=True)
class Execution:
    """Where and how rows were executed.

    Attributes:
        qpu: Name of the QPU.
        calibration_id: Calibration at that time; empty where there is none.
        layout: Physical qubit of each circuit qubit; empty where there are no physical qubits.
        method: What computed it, such as "aer-statevector".
        depth: Depth of the transpiled template.
        two_qubit_gates: Two-qubit gates of the transpiled template.
    """

    qpu: str
    calibration_id: str = ""
    layout: tuple[int, ...] = ()
    method: str = ""
    depth: int = 0
    two_qubit_gates: int = 0


@dataclass(frozen=True, eq=False)
class Counts:
    """How often each outcome occurred, for several rows.

    Attributes:
        num_clbits: Classical bits of an outcome, over all registers.
        outcomes: Bytes of shape (n, ceil(num_clbits / 8)), big-endian; clbit 0 is the least
            significant bit. Ascending within a row.
        counts: How often each occurred, of shape (n,).
        offsets: Row r is `outcomes[offsets[r]:offsets[r + 1]]`; of shape (rows + 1,).
    """

    num_clbits: int
    outcomes: NDArray[np.uint8]
    counts: NDArray[np.int64]
    offsets: NDArray[np.int64]

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.offsets) - 1

    @property
    def shots(self) -> NDArray[np.int64]:
        """Shots of each row, of shape (rows,)."""
        total = np.concatenate([[0], np.cumsum(self.counts)])
        return np.diff(total[self.offsets])

    def to_integers(self) -> NDArray[np.uint64]:
        """Returns the outcomes as integers of shape (n,).

        Raises:
            InvalidRequestError: If an outcome has more than 64 bits; use `outcomes` then.
        """
        if self.num_clbits > 64:
            raise errors.InvalidRequestError(
                f"Outcomes have {self.num_clbits} bits; integers of numpy hold 64, so use the "
                "bytes in `outcomes` or the Python integers of `row`."
            )
        padded = np.zeros((len(self.outcomes), 8), dtype=np.uint8)
        padded[:, 8 - self.outcomes.shape[1] :] = self.outcomes
        return padded.view(">u8").ravel().astype(np.uint64)

    def row(self, index: int) -> dict[int, int]:
        """Returns one row as outcome → count; clbit 0 is the least significant bit."""
        begin, end = self.offsets[index], self.offsets[index + 1]
        outcomes = (int.from_bytes(line.tobytes(), "big") for line in self.outcomes[begin:end])
        return dict(zip(outcomes, self.counts[begin:end].tolist(), strict=True))


@dataclass(frozen=True, eq=False)
class Bits:
    """Measured bits of every shot, for several rows.

    Attributes:
        registers: Per classical register, in the circuit's order: bytes of shape
            (all shots, ceil(num_bits / 8)) in the layout of Qiskit's BitArray, big-endian.
        num_bits: Bits of each register.
        offsets: Row r is `registers[name][offsets[r]:offsets[r + 1]]`; of shape (rows + 1,).
    """

    registers: dict[str, NDArray[np.uint8]]
    num_bits: dict[str, int]
    offsets: NDArray[np.int64]

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.offsets) - 1

    @property
    def shots(self) -> NDArray[np.int64]:
        """Shots of each row, of shape (rows,)."""
        return np.diff(self.offsets)

    def row(self, register: str, index: int) -> NDArray[np.uint8]:
        """Returns one row of a register, of shape (shots, bytes)."""
        return self.registers[register][self.offsets[index] : self.offsets[index + 1]]


@dataclass(frozen=True, eq=False)
class Expectations:
    """Estimates of expectation values, for several rows.

    Attributes:
        values: One per evaluated pair of row and observable: row-major, or in the order of the
            entry's pairs.
        variances: Variance of each value as an estimator; 0 for exact jobs.
        shots: Shots spent on each row, of shape (rows,); 0 for exact jobs.
    """

    values: NDArray[np.float64]
    variances: NDArray[np.float64]
    shots: NDArray[np.int64]

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.shots)


Data = Counts | Bits | Expectations


@dataclass(frozen=True, eq=False)
class _Result:
    """Data of some rows, by kind."""

    data: Data

    @property
    def counts(self) -> Counts:
        """The data of a sampler job with format COUNTS; TypeError for other jobs."""
        if not isinstance(self.data, Counts):
            raise TypeError(f"The result holds {type(self.data).__name__}, not Counts.")
        return self.data

    @property
    def bits(self) -> Bits:
        """The data of a sampler job with format BITS; TypeError for other jobs."""
        if not isinstance(self.data, Bits):
            raise TypeError(f"The result holds {type(self.data).__name__}, not Bits.")
        return self.data

    @property
    def expectations(self) -> Expectations:
        """The data of an estimator job; TypeError for other jobs."""
        if not isinstance(self.data, Expectations):
            raise TypeError(f"The result holds {type(self.data).__name__}, not Expectations.")
        return self.data


@dataclass(frozen=True, eq=False)
class Chunk(_Result):
    """Results of rows [first_row, first_row + rows) of one entry.

    Attributes:
        data: What was measured, by the job's kind and format.
        entry: Index of the entry in the job.
        first_row: Its first row.
        rows: How many rows.
        execution: Where and how they were executed.
    """

    entry: int
    first_row: int
    rows: int
    execution: Execution


@dataclass(frozen=True, eq=False)
class EntryResult(_Result):
    """Results of every row of one entry.

    Attributes:
        data: What was measured, rows in order.
        executions: Where and how, with the first row it holds for; one per chunk.
    """

    executions: tuple[tuple[int, Execution], ...]


@dataclass(frozen=True, eq=False)
class JobResult:
    """Results of a whole job.

    Attributes:
        record: The job in its final state.
        entries: One result per entry of the job, in order.
    """

    record: JobRecord
    entries: tuple[EntryResult, ...]


def assemble(record: JobRecord, chunks: Sequence[Chunk]) -> JobResult:
    """Puts the chunks of a job together, whatever order they came in.

    Raises:
        ProtocolError: If rows are missing.
    """
    by_entry: dict[int, list[Chunk]] = {}
    for chunk in sorted(chunks, key=lambda chunk: (chunk.entry, chunk.first_row)):
        by_entry.setdefault(chunk.entry, []).append(chunk)
    found = sum(chunk.rows for chunk in chunks)
    gaps = [entry for entry, parts in by_entry.items() if not _is_contiguous(parts)]
    if gaps or found != record.circuits or list(by_entry) != list(range(len(by_entry))):
        raise errors.ProtocolError(
            f"Job {record.id} succeeded with {record.circuits} circuits, but results of {found} "
            f"came, entries with gaps: {gaps}. Read the results again; if it persists, report it."
        )
    return JobResult(record, tuple(_join(parts) for parts in by_entry.values()))


def _is_contiguous(parts: Sequence[Chunk]) -> bool:
    ends = [0, *(part.first_row + part.rows for part in parts)]
    return [part.first_row for part in parts] == ends[:-1]


def _join(parts: Sequence[Chunk]) -> EntryResult:
    executions = tuple((part.first_row, part.execution) for part in parts)
    first = parts[0].data
    data: Data = first
    if len(parts) > 1:
        if isinstance(first, Counts):
            data = _join_counts([part.counts for part in parts])
        elif isinstance(first, Bits):
            data = _join_bits([part.bits for part in parts])
        else:
            data = _join_expectations([part.expectations for part in parts])
    return EntryResult(data, executions)


def _join_counts(parts: Sequence[Counts]) -> Counts:
    return Counts(
        parts[0].num_clbits,
        np.concatenate([part.outcomes for part in parts]),
        np.concatenate([part.counts for part in parts]),
        join_offsets([np.diff(part.offsets) for part in parts]),
    )


def _join_bits(parts: Sequence[Bits]) -> Bits:
    first = parts[0]
    return Bits(
        {name: np.concatenate([part.registers[name] for part in parts]) for name in first.num_bits},
        first.num_bits,
        join_offsets([np.diff(part.offsets) for part in parts]),
    )


def _join_expectations(parts: Sequence[Expectations]) -> Expectations:
    return Expectations(
        np.concatenate([part.values for part in parts]),
        np.concatenate([part.variances for part in parts]),
        np.concatenate([part.shots for part in parts]),
    )


def join_offsets(lengths: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Returns where each row begins, and the end, from the rows' lengths."""
    return np.concatenate([[0], np.cumsum(np.concatenate(lengths))]).astype(np.int64)
