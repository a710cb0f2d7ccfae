"""A TCP connection to a server that a test cuts in the middle of what is said."""

from __future__ import annotations

import asyncio
import contextlib
from types import TracebackType
from typing import Self


class Wire:
    """Forwards connections to a port of this machine, until it is told to cut them all.

    Args:
        target: The server's port.

    Attributes:
        port: Where clients connect.
        cuts: How often it was cut.
    """

    def __init__(self, target: int) -> None:
        self.port = 0
        self.cuts = 0
        self._target = target
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._words: bytes | None = None
        self._arrives = False
        self._stay_away = False
        self._away = False

    def cut_at(self, words: bytes, *, arrives: bool, stay_away: bool = False) -> None:
        """Cuts all connections when a client says some words.

        Args:
            words: Bytes that a client sends at once.
            arrives: Whether the server still hears them; their answer is cut off.
            stay_away: Whether new connections are cut too, until `come_back`.
        """
        self._words, self._arrives, self._stay_away = words, arrives, stay_away

    def come_back(self) -> None:
        """Takes new connections again."""
        self._away = False

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.close()
        self._cut()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._away:
            writer.close()
            return
        there_reader, there = await asyncio.open_connection("127.0.0.1", self._target)
        self._writers |= {writer, there}
        for task in (
            asyncio.create_task(self._forward(reader, there, True)),
            asyncio.create_task(self._forward(there_reader, writer, False)),
        ):
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _forward(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, from_client: bool
    ) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(2**16):
                if from_client and self._words is not None and self._words in data:
                    self._words, self._away = None, self._stay_away
                    self.cuts += 1
                    if self._arrives:
                        writer.write(data)
                        await writer.drain()
                        # Answered, which nobody hears: readers on the other side are cut below.
                        self._writers.discard(writer)
                    self._cut()
                    if self._arrives:
                        await asyncio.sleep(0.1)
                        writer.close()
                    return
                writer.write(data)
                await writer.drain()
        writer.close()

    def _cut(self) -> None:
        writers, self._writers = self._writers, set()
        for writer in writers:
            writer.transport.abort()
