"""Serves /healthz and /readyz: a few lines of HTTP, for a framework would double the memory."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

_REQUEST_SECONDS = 5.0
_MAX_LINE_BYTES = 4096


@asynccontextmanager
async def serve_health(
    find_stalled: Callable[[], Mapping[str, float]],
    find_missing: Callable[[], str],
    address: str,
    port: int,
) -> AsyncIterator[int]:
    """Serves health while the context is open; gives the port.

    `/healthz` answers 200 while every loop goes round: neither a kubelet nor a gateway is healed
    by a restart. `/readyz` answers 200 once the kubelet follows every list there is.

    Args:
        find_stalled: Finds the loops that hang, with the seconds since they came round.
        find_missing: Says what is not ready, or nothing.
        address: Where to listen.
        port: Port to listen on; 0 lets the system choose.
    """

    def answer(path: str) -> tuple[str, str]:
        if path == "/healthz":
            stalled = find_stalled()
            lines = [f"Loop {loop} hangs for {age:.0f} s." for loop, age in sorted(stalled.items())]
            return ("503 Service Unavailable", "\n".join(lines)) if lines else ("200 OK", "ok")
        if path == "/readyz":
            missing = find_missing()
            return ("503 Service Unavailable", missing) if missing else ("200 OK", "ok")
        return "404 Not Found", "There are /healthz and /readyz."

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_REQUEST_SECONDS):
                words = (await reader.readline()).decode("latin-1").split()
                while (await reader.readline()).strip():
                    pass
                status, text = answer(words[1].partition("?")[0] if len(words) == 3 else "")
                body = f"{text}\n".encode()
                head = (
                    f"HTTP/1.1 {status}\r\nContent-Type: text/plain\r\n"
                    f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
                )
                writer.write(head.encode() + body)
                await writer.drain()
        except (OSError, ValueError):
            # Whoever asked hung up, dawdled or sent no HTTP.
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(handle, address, port, limit=_MAX_LINE_BYTES)
    async with server:
        yield int(server.sockets[0].getsockname()[1])
