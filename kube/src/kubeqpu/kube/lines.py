"""Lines of an answer that goes on for as long as both sides like."""

import asyncio
from collections.abc import AsyncIterator
from typing import Protocol

import aiohttp


class Content(Protocol):
    """The body of an answer, such as `aiohttp.StreamReader`."""

    async def readany(self) -> bytes:
        """Waits for what comes next and returns it; nothing at the end."""


async def read_lines(
    content: Content, silence_seconds: float | None = None
) -> AsyncIterator[bytes]:
    """Yields whole lines of any length; the library's own reading gives up at 128 KiB.

    Args:
        content: The body of the answer.
        silence_seconds: How long nothing may come; None: as long as the client allows.

    Raises:
        TimeoutError: If nothing came for so long.
        aiohttp.ClientError: If the answer breaks off, also within a line.
    """
    parts: list[bytes] = []
    while True:
        async with asyncio.timeout(silence_seconds):
            chunk = await content.readany()
        if not chunk:
            if parts:
                raise aiohttp.ClientPayloadError("The answer ended within a line.")
            return
        first, *others = chunk.split(b"\n")
        parts.append(first)
        for other in others:
            yield b"".join(parts)
            parts = [other]
        parts = [part for part in parts if part]
