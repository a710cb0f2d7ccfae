"""Answers the API server over HTTPS."""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import structlog
from aiohttp import web

from kubeqpu.admission.errors import MalformedReviewError
from kubeqpu.admission.webhooks.drafts import Verdict
from kubeqpu.admission.webhooks.judge import Judge
from kubeqpu.admission.webhooks.telemetry import Telemetry
from kubeqpu.admission.webhooks.wire import Review, parse_review, write_response

_LOG = structlog.get_logger(__name__)

# Above what the API server takes, with the old object and what is around it.
MOST_BYTES = 8 * 2**20
# Longer than the API server waits for an answer.
_RECEIVE_SECONDS = 10.0
_SHUTDOWN_SECONDS = 5.0

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Server:
    """The two webhooks.

    Args:
        judge: Decides.
        find_fault: Tells why nothing can be decided; empty if it can.
        telemetry: Counts.
    """

    def __init__(self, judge: Judge, find_fault: Callable[[], str], telemetry: Telemetry) -> None:
        self._judge = judge
        self._find_fault = find_fault
        self._telemetry = telemetry

    @asynccontextmanager
    async def serve(self, context: ssl.SSLContext, address: str, port: int) -> AsyncIterator[int]:
        """Serves while the context manager is open; gives the port.

        Args:
            context: The certificate.
            address: Where to listen.
            port: Port to listen on; 0 lets the system choose.
        """
        application = web.Application(client_max_size=MOST_BYTES)
        application.router.add_post("/mutate", self._handler("mutate", self._judge.mutate))
        application.router.add_post("/validate", self._handler("validate", self._judge.validate))
        runner = web.AppRunner(
            application, access_log=None, shutdown_timeout=_SHUTDOWN_SECONDS, keepalive_timeout=600
        )
        await runner.setup()
        try:
            await web.TCPSite(runner, address, port, ssl_context=context).start()
            yield int(runner.addresses[0][1])
        finally:
            await runner.cleanup()

    def _handler(self, verb: str, decide: Callable[[Review], Verdict]) -> _Handler:
        async def handle(request: web.Request) -> web.Response:
            try:
                async with asyncio.timeout(_RECEIVE_SECONDS):
                    body = await request.read()
            except TimeoutError:
                return web.Response(status=408, text="The question did not arrive in time.\n")
            if fault := self._find_fault():
                return web.Response(status=503, text=f"{fault}\n")
            return self._answer(verb, decide, body)

        return handle

    def _answer(self, verb: str, decide: Callable[[Review], Verdict], body: bytes) -> web.Response:
        began = time.perf_counter()
        kind, result = "other", "failed"
        try:
            review = parse_review(body)
            kind = review.kind
            verdict = decide(review)
            result = _name_result(verdict)
            _log(verb, review, verdict)
            self._telemetry.count_effects(verdict.gated, len(verdict.warnings))
            answer = write_response(review.uid, verdict)
            return web.Response(body=answer, content_type="application/json")
        except MalformedReviewError as error:
            _LOG.warning("Review refused", verb=verb, reason=str(error))
            return web.Response(status=400, text=f"{error}\n")
        except Exception:
            # Whatever it is, the API server is told, and the next question is answered.
            _LOG.exception("Review failed", verb=verb, kind=kind)
            return web.Response(status=500, text="The webhook failed; its log says where.\n")
        finally:
            seconds = time.perf_counter() - began
            self._telemetry.count_review(verb, kind, result, seconds)


def _name_result(verdict: Verdict) -> str:
    if verdict.refusal:
        return "refused"
    return "changed" if verdict.operations else "allowed"


def _log(verb: str, review: Review, verdict: Verdict) -> None:
    if verdict.refusal:
        _LOG.info("Object refused", verb=verb, kind=review.kind, object=review.reference,
                  reason=verdict.refusal)  # fmt: skip
    elif verdict.operations:
        _LOG.debug("Object changed", verb=verb, kind=review.kind, object=review.reference,
                   gate=verdict.gated)  # fmt: skip
