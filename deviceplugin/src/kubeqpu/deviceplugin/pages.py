"""Serves a few pages over HTTP: a framework would double the memory."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

_REQUEST_SECONDS = 5.0
_MAX_LINE_BYTES = 4096
_REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 503: "Service Unavailable"}


@dataclass(frozen=True, slots=True)
class Page:
    """An answer.

    Attributes:
        text: Its content.
        status: Its HTTP status.
        content_type: What it is.
    """

    text: str
    status: int = 200
    content_type: str = "text/plain; charset=utf-8"


Answer = Callable[[str], Page | None]


@asynccontextmanager
async def serve_pages(answer: Answer, address: str, port: int) -> AsyncIterator[int]:
    """Serves pages while the context is open; gives the port.

    Args:
        answer: Gives the page of a path, or None.
        address: Where to listen.
        port: Port to listen on; 0 lets the system choose.

    Raises:
        OSError: If the port is taken.
    """

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_REQUEST_SECONDS):
                words = (await reader.readline()).decode("latin-1").split()
                while (await reader.readline()).strip():
                    pass
                writer.write(_encode(_find(answer, words)))
                await writer.drain()
        except (OSError, ValueError):
            # Whoever asked hung up, dawdled or sent lines without an end.
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(handle, address, port, limit=_MAX_LINE_BYTES)
    async with server:
        yield int(server.sockets[0].getsockname()[1])


def _find(answer: Answer, words: list[str]) -> Page:
    if len(words) != 3 or words[0] != "GET":
        return Page("Only GET is answered.\n", 400)
    return answer(words[1].partition("?")[0]) or Page("There is no such page.\n", 404)


def _encode(page: Page) -> bytes:
    body = page.text.encode()
    head = (
        f"HTTP/1.1 {page.status} {_REASONS[page.status]}\r\nContent-Type: {page.content_type}\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body
