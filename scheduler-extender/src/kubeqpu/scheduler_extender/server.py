"""Answers the scheduler over HTTP."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import structlog
from aiohttp import web

from kubeqpu.scheduler_extender import wire
from kubeqpu.scheduler_extender.activity import Activity
from kubeqpu.scheduler_extender.errors import (
    LargeRequestError,
    RequestError,
    SlowRequestError,
    StaleDataError,
)
from kubeqpu.scheduler_extender.placements import Placements
from kubeqpu.scheduler_extender.telemetry import Telemetry

_LOG = structlog.get_logger(__name__)

MOST_BYTES = 32 * 2**20
# The scheduler keeps one connection, however long no pod comes.
_KEEP_ALIVE_SECONDS = 2 * 3600.0
# Those under way are finished.
_SHUTDOWN_SECONDS = 1.0
# How long the rest of a refused request is taken, so that its sender reads why.
_LINGER_SECONDS = 1.0

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Server:
    """The three verbs.

    Args:
        placements: Decides.
        telemetry: Counts requests.
        activity: Told of every request.
        timeout_seconds: How long a request may take to arrive.
    """

    def __init__(
        self,
        placements: Placements,
        telemetry: Telemetry,
        activity: Activity,
        timeout_seconds: float,
    ) -> None:
        self._placements = placements
        self._telemetry = telemetry
        self._activity = activity
        self._timeout_seconds = timeout_seconds

    @asynccontextmanager
    async def serve(self, address: str, port: int) -> AsyncIterator[int]:
        """Serves while the context is open; gives the port.

        Args:
            address: Where to listen.
            port: Port to listen on; 0 lets the system choose.
        """
        application = web.Application(client_max_size=MOST_BYTES)
        application.router.add_post("/filter", self._handler("filter", self._filter))
        application.router.add_post("/prioritize", self._handler("prioritize", self._prioritize))
        application.router.add_post("/preempt", self._handler("preempt", self._preempt))
        runner = web.AppRunner(
            application,
            access_log=None,
            keepalive_timeout=_KEEP_ALIVE_SECONDS,
            shutdown_timeout=_SHUTDOWN_SECONDS,
            lingering_time=_LINGER_SECONDS,
        )
        await runner.setup()
        try:
            await web.TCPSite(runner, address, port).start()
            yield int(runner.addresses[0][1])
        finally:
            await runner.cleanup()

    def _handler(self, verb: str, answer: Callable[[bytes], Awaitable[bytes]]) -> _Handler:
        async def handle(request: web.Request) -> web.Response:
            self._activity.note()
            began: float | None = None
            try:
                body = await self._receive(request)
                began = time.perf_counter()
                response = web.Response(body=await answer(body), content_type="application/json")
            except RequestError as error:
                response = _refuse(verb, error)
            except Exception:
                # Whatever it is, the scheduler is told, and the next request is served.
                self._telemetry.count_error("request")
                _LOG.exception("Request failed", verb=verb)
                response = web.Response(
                    status=500, text="The extender failed; its log says where.\n"
                )
            seconds = None if began is None else time.perf_counter() - began
            self._telemetry.count_request(verb, response.status, seconds)
            return response

        return handle

    async def _receive(self, request: web.Request) -> bytes:
        try:
            async with asyncio.timeout(self._timeout_seconds):
                return await request.read()
        except TimeoutError as error:
            raise SlowRequestError(
                f"The request did not arrive within {self._timeout_seconds:g} s; it is given up."
            ) from error
        except ConnectionError as error:
            raise SlowRequestError("The client went away in the middle of its request.") from error
        except web.HTTPRequestEntityTooLarge as error:
            raise LargeRequestError(
                f"The request is larger than {MOST_BYTES // 2**20} MiB; expected the names of "
                "nodes: set nodeCacheCapable: true in the scheduler's configuration."
            ) from error

    async def _filter(self, body: bytes) -> bytes:
        request = wire.parse_request(body)
        self._telemetry.count_nodes("filter", len(request.nodes))
        try:
            found = self._placements.filter(request)
        except StaleDataError as error:
            # The scheduler shows pods this sentence; of another status only its number.
            self._telemetry.count_decision("stale")
            return wire.write_error(str(error))
        return wire.write_passed(found) if isinstance(found, list) else wire.write_refused(found)

    async def _prioritize(self, body: bytes) -> bytes:
        request = wire.parse_request(body)
        self._telemetry.count_nodes("prioritize", len(request.nodes))
        return wire.write_points(request.nodes, self._placements.prioritize(request))

    async def _preempt(self, body: bytes) -> bytes:
        request = wire.parse_preempt(body)
        return wire.write_victims(self._placements.preempt(request.pod, request.victims))


def _refuse(verb: str, error: RequestError) -> web.Response:
    _LOG.warning("Request refused", verb=verb, status=error.status, reason=str(error))
    return web.Response(status=error.status, text=f"{error}\n")
