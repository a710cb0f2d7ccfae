"""Serves /healthz and /readyz of the webhooks."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import web


@asynccontextmanager
async def serve_probes(
    find_fault: Callable[[], str], address: str, port: int
) -> AsyncIterator[int]:
    """Serves probes while the context is open; gives the port.

    `/healthz` answers as long as the loop goes round: a restart heals one that does not, and no
    API server that is away. `/readyz` says whether questions are answered, and if not why.

    Args:
        find_fault: Tells why no question should come; empty if they may.
        address: Where to listen.
        port: Port to listen on; 0 lets the system choose.
    """

    async def live(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def ready(_: web.Request) -> web.Response:
        fault = find_fault()
        return web.Response(text=f"{fault}\n", status=503) if fault else web.Response(text="ok\n")

    application = web.Application()
    application.router.add_get("/healthz", live)
    application.router.add_get("/readyz", ready)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.2)
    await runner.setup()
    try:
        await web.TCPSite(runner, address, port).start()
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()
