"""Messages between the pool and its processes: a JSON head and a binary payload.

Nothing that a worker sends is trusted: it has loaded a tenant's payload. So no pickle, and sizes
are bounded before they are read.
"""

import asyncio
import json
import socket
import struct
from dataclasses import dataclass, field

from pydantic import JsonValue

_HEADER = struct.Struct("!IQ")
MAX_HEAD_BYTES = 32 * 2**20
MAX_PAYLOAD_BYTES = 2 * 2**30


@dataclass(frozen=True)
class Frame:
    """One message.

    Attributes:
        head: What it is and its small fields.
        payload: Serialized circuits, a serialized job or a serialized result.
    """

    head: dict[str, JsonValue]
    payload: bytes = field(default=b"", repr=False)

    def encode(self) -> bytes:
        """Serializes the frame with its length prefix."""
        head = json.dumps(self.head, separators=(",", ":")).encode()
        return _HEADER.pack(len(head), len(self.payload)) + head + self.payload


async def receive_frame(reader: asyncio.StreamReader) -> Frame:
    """Reads one frame from a worker.

    Raises:
        asyncio.IncompleteReadError: If the peer closed the connection.
        ValueError: If the peer does not keep to the format.
    """
    head_bytes, payload_bytes = _checked_sizes(await reader.readexactly(_HEADER.size))
    head = _parsed_head(await reader.readexactly(head_bytes))
    return Frame(head, await reader.readexactly(payload_bytes))


def receive_frame_blocking(connection: socket.socket) -> Frame | None:
    """Reads one frame in a worker, or None once the pool has closed the connection."""
    header = _receive_exactly(connection, _HEADER.size)
    if header is None:
        return None
    head_bytes, payload_bytes = _checked_sizes(header)
    head = _receive_exactly(connection, head_bytes)
    payload = _receive_exactly(connection, payload_bytes)
    if head is None or payload is None:
        return None
    return Frame(_parsed_head(head), payload)


def _checked_sizes(header: bytes) -> tuple[int, int]:
    head_bytes, payload_bytes = _HEADER.unpack(header)
    if head_bytes > MAX_HEAD_BYTES or payload_bytes > MAX_PAYLOAD_BYTES:
        raise ValueError(f"frame of {head_bytes} + {payload_bytes} bytes is over the limit")
    return head_bytes, payload_bytes


def _parsed_head(data: bytes) -> dict[str, JsonValue]:
    head = json.loads(data)
    if not isinstance(head, dict):
        raise ValueError("frame head is not an object")
    return head


def _receive_exactly(connection: socket.socket, size: int) -> bytes | None:
    buffer = bytearray(size)
    view, filled = memoryview(buffer), 0
    while filled < size:
        received = connection.recv_into(view[filled:])
        if received == 0:
            return None
        filled += received
    return bytes(buffer)
