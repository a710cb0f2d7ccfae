"""The cheapest scheduler extender there can be in Python: what any extender costs, ours or another.

It gives the first nodes it is asked about, all of them equal, and looks at nothing else.

    python -m tests.benchmarks.null_extender PORT
"""

import asyncio
import sys
from typing import cast

import orjson
import uvloop

_NODES = 64
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"


def answer(path: bytes, body: bytes) -> bytes:
    """Answers one request of the scheduler."""
    names = orjson.loads(body)["NodeNames"]
    if path == b"/filter":
        return orjson.dumps({"NodeNames": names[:_NODES]})
    return orjson.dumps([{"Host": name, "Score": 0} for name in names])


class _Connection(asyncio.Protocol):
    def __init__(self) -> None:
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's is none by inheritance.
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, rest = self._received.partition(b"\r\n\r\n")
        if not end:
            return
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        if len(rest) >= length:
            self._received = rest[length:]
            found = answer(head.split(b" ", 2)[1], rest[:length])
            self._transport.write(_HEAD % len(found) + found)


async def run(port: int) -> None:
    """Serves until the process is ended."""
    server = await asyncio.get_running_loop().create_server(_Connection, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(run(int(sys.argv[1])))
