"""Serves /healthz: whether the loops go round."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

from aiohttp import web


@asynccontextmanager
async def serve_health(
    find_stalled: Callable[[], Mapping[str, float]], address: str, port: int
) -> AsyncIterator[int]:
    """Serves health while the context is open; gives the port.

    It answers 200 while every loop goes round, whether what it does succeeds or not: a restart
    heals a loop that hangs, and neither an API server nor a gateway.

    Args:
        find_stalled: Finds the loops that hang, with the seconds since they came round.
        address: Where to listen.
        port: Port to listen on; 0 lets the system choose.
    """

    async def answer(_: web.Request) -> web.Response:
        stalled = find_stalled()
        if not stalled:
            return web.Response(text="ok\n")
        lines = [f"Loop {loop} hangs for {age:.0f} s.\n" for loop, age in sorted(stalled.items())]
        return web.Response(status=503, text="".join(lines))

    application = web.Application()
    application.router.add_get("/healthz", answer)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, address, port)
        await site.start()
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()
