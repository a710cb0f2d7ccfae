"""Serves what a kubelet asks of a component."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

from aiohttp import web

# Nothing is under way for longer than a moment.
_SHUTDOWN_SECONDS = 0.2


def find_nothing() -> str:
    """The fault of a component that answers at all: a restart heals one that does not."""
    return ""


@asynccontextmanager
async def serve_probes(
    probes: Mapping[str, Callable[[], str]], address: str, port: int
) -> AsyncIterator[int]:
    """Serves probes while the context is open; gives the port.

    A probe answers 200 where it finds no fault, and 503 with the fault in words.

    Args:
        probes: What finds the fault, by path, such as `/healthz`; empty where there is none.
        address: Where to listen.
        port: Port to listen on; 0 lets the system choose.
    """
    application = web.Application()
    for path, find_fault in probes.items():
        application.router.add_get(path, _answer_by(find_fault))
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=_SHUTDOWN_SECONDS)
    await runner.setup()
    try:
        await web.TCPSite(runner, address, port).start()
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()


def _answer_by(
    find_fault: Callable[[], str],
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def answer(_: web.Request) -> web.StreamResponse:
        fault = find_fault()
        return web.Response(text=f"{fault}\n", status=503) if fault else web.Response(text="ok\n")

    return answer
