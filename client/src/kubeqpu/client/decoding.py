"""Reads result streams from the wire: each row once, however often the stream breaks."""

from collections.abc import Sequence
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from kubeqpu.client import errors
from kubeqpu.client.records import JobRecord, read_record
from kubeqpu.client.results import (
    Bits,
    Chunk,
    Counts,
    Data,
    Execution,
    Expectations,
    join_offsets,
)
from kubeqpu.proto.v1 import gateway_pb2


class Inbox:
    """Takes what a gateway streams and leaves out rows that came before.

    A broken stream is opened again from its beginning; the gateway sends stored results first.
    """

    def __init__(self) -> None:
        self.record: JobRecord | None = None
        self._seen: dict[int, bytearray] = {}

    def accept(self, response: gateway_pb2.StreamResultsResponse) -> Chunk | None:
        """Reads one message: a chunk not seen before, else None.

        The job in its final state, which ends a stream, is kept in `record`.

        Raises:
            ProtocolError: If the message contradicts itself or an earlier one.
        """
        if response.HasField("job"):
            self.record = read_record(response.job)
            return None
        if not response.HasField("chunk") or not self._mark(response.chunk):
            return None
        return read_chunk(response.chunk)

    def _mark(self, chunk: gateway_pb2.ResultChunk) -> bool:
        seen = self._seen.setdefault(chunk.entry, bytearray())
        end = chunk.first_row + chunk.rows
        seen.extend(bytes(max(0, end - len(seen))))
        known = seen.count(1, chunk.first_row, end)
        if known not in {0, chunk.rows}:
            raise errors.ProtocolError(
                f"The gateway sent rows {chunk.first_row} to {end - 1} of entry {chunk.entry} "
                "after it had sent some of them in another chunk; expected stored chunks to keep "
                "their rows. Please report it."
            )
        seen[chunk.first_row : end] = b"\x01" * chunk.rows
        return known == 0


def read_chunk(chunk: gateway_pb2.ResultChunk) -> Chunk:
    """Reads one chunk from the wire.

    Raises:
        ProtocolError: If its kind is unknown or its sizes contradict each other.
    """
    try:
        data = _read_data(chunk)
        if data.rows != chunk.rows:
            raise ValueError(f"data of {data.rows} rows")
    except ValueError as error:
        raise errors.ProtocolError(
            f"The gateway sent a chunk of {chunk.rows} rows of entry {chunk.entry} that "
            f"contradicts itself ({error}). Please report it."
        ) from error
    return Chunk(data, chunk.entry, chunk.first_row, chunk.rows, _read_execution(chunk.execution))


def _read_data(chunk: gateway_pb2.ResultChunk) -> Data:
    match chunk.WhichOneof("results"):
        case "counts":
            return _read_counts(chunk.counts)
        case "bits":
            return _read_bits(chunk.bits)
        case "expectation":
            return _read_expectations(chunk.expectation)
    raise ValueError("a kind of result this client does not know")


def _read_counts(message: gateway_pb2.CountsResult) -> Counts:
    lengths = np.fromiter((len(row.counts) for row in message.rows), np.int64, len(message.rows))
    offsets = join_offsets([lengths])
    counts = np.fromiter(
        chain.from_iterable(row.counts for row in message.rows), np.int64, int(offsets[-1])
    )
    packed = b"".join(row.outcomes for row in message.rows)
    outcomes = np.frombuffer(packed, np.uint8).reshape(len(counts), -(-message.num_clbits // 8))
    return Counts(message.num_clbits, outcomes, counts, offsets)


def _read_bits(message: gateway_pb2.BitsResult) -> Bits:
    offsets = join_offsets([_read_integers(message.shots)])
    registers = {
        register.name: np.frombuffer(register.data, np.uint8).reshape(
            int(offsets[-1]), -(-register.num_bits // 8)
        )
        for register in message.registers
    }
    return Bits(
        registers, {register.name: register.num_bits for register in message.registers}, offsets
    )


def _read_expectations(message: gateway_pb2.ExpectationResult) -> Expectations:
    if len(message.values) != len(message.variances):
        raise ValueError(f"{len(message.values)} values, {len(message.variances)} variances")
    return Expectations(
        np.array(message.values, dtype=np.float64),
        np.array(message.variances, dtype=np.float64),
        _read_integers(message.shots),
    )


def _read_integers(numbers: Sequence[int]) -> NDArray[np.int64]:
    return np.array(numbers, dtype=np.int64)


def _read_execution(message: gateway_pb2.Execution) -> Execution:
    return Execution(
        qpu=message.qpu,
        calibration_id=message.calibration_id,
        layout=tuple(message.layout),
        method=message.method,
        depth=message.depth,
        two_qubit_gates=message.two_qubit_gates,
    )
