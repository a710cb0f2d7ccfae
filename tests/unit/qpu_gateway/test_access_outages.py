"""Reviews by an API server that answers badly, slowly or not at all."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from kubeqpu.qpu_gateway.access import Caller, Verb
from kubeqpu.qpu_gateway.access.cluster import ClusterAccess
from kubeqpu.qpu_gateway.access.inquiry import Inquiry
from kubeqpu.qpu_gateway.errors import (
    ClusterUnavailableError,
    UnauthenticatedError,
)
from tests.support.review_server import AUDIENCE, ReviewServer

Connect = Callable[..., ClusterAccess]


@pytest.fixture
async def server() -> AsyncIterator[ReviewServer]:
    async with ReviewServer() as found:
        yield found


@pytest.fixture
async def access(server: ReviewServer) -> AsyncIterator[ClusterAccess]:
    async with server.api_client() as api_client:
        yield ClusterAccess(api_client, AUDIENCE)


def bearer(token: str, **more: str) -> list[tuple[str, str]]:
    return [("authorization", f"Bearer {token}"), *more.items()]


def claim(token: str, tenant: str) -> list[tuple[str, str]]:
    return [*bearer(token), ("kubeqpu-tenant", tenant)]


async def test_a_flood_of_bad_tokens_does_not_reach_the_api_server(
    server: ReviewServer, access: ClusterAccess
) -> None:
    token = server.issue_token("team-a")
    server.revoke_token(token)
    for _ in range(200):
        with pytest.raises(UnauthenticatedError):
            await access.identify(bearer(token))
    assert server.requests == 1


async def test_many_callers_at_once_wait_their_turn(server: ReviewServer) -> None:
    server.delay_seconds = 0.02
    tokens = [server.issue_token(f"team-{number}") for number in range(100)]
    async with server.api_client() as api_client:
        access = ClusterAccess(api_client, AUDIENCE)
        callers = await asyncio.gather(*(access.identify(bearer(token)) for token in tokens))
    assert [caller.tenant for caller in callers] == [f"team-{number}" for number in range(100)]
    assert 1 < server.at_once <= 16


async def test_more_than_can_wait_are_turned_away() -> None:
    inquiry = Inquiry("token", lambda kind, seconds: None, at_once=1, waiting=1, seconds=5)
    release = asyncio.Event()

    async def send() -> int:
        await release.wait()
        return 7

    first, second = (asyncio.create_task(inquiry.put(send)) for _ in range(2))
    await asyncio.sleep(0)
    with pytest.raises(ClusterUnavailableError, match="2 questions wait already"):
        await inquiry.put(send)
    release.set()
    assert [await first, await second, await inquiry.put(send)] == [7, 7, 7]


def close(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.close()
    return web.Response()


def echo_token(request: web.Request) -> web.StreamResponse:
    return web.Response(text="not JSON: " + str(request._read_bytes), status=201)


def misplace_token(request: web.Request) -> web.StreamResponse:
    token = json.loads(request._read_bytes or b"{}")["spec"].get("token", "")
    return web.json_response({"status": {"authenticated": True, "user": {"username": [token]}}})


BAD_ANSWERS = {
    "status 500": lambda request: web.Response(status=500, text=str(request._read_bytes)),
    "status 403": lambda request: web.json_response({"kind": "Status", "code": 403}, status=403),
    "garbage": echo_token,
    "the token in a wrong place": misplace_token,
    "other JSON": lambda request: web.json_response(["x"], status=201),
    "wrong types": lambda request: web.json_response({"status": {"authenticated": "yes"}}),
    "no status": lambda request: web.json_response({"spec": {}}, status=201),
    "closed": close,
}


@pytest.mark.parametrize("kind", BAD_ANSWERS)
async def test_a_server_that_answers_badly_lets_nobody_in_and_shows_no_token(
    server: ReviewServer, access: ClusterAccess, kind: str
) -> None:
    metadata = bearer(server.issue_token("team-a"))
    server.answer = BAD_ANSWERS[kind]
    secret = metadata[0][1][-12:]  # what quotes it may shorten it
    with capture_logs() as logs:
        with pytest.raises(ClusterUnavailableError, match="Try again") as failed:
            await access.identify(metadata)
        with pytest.raises(ClusterUnavailableError):
            await access.authorise(Caller("team-a", "u"), Verb.GET, "aer")
    shown = str(logs)
    error: BaseException | None = failed.value
    while error is not None:
        shown += str(error)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    assert secret not in shown
    assert [line["event"] for line in logs] == ["Review failed"] * 2
    server.answer = None
    assert (await access.identify(metadata)).tenant == "team-a"


@pytest.mark.timed
async def test_a_slow_server_is_not_waited_for_long() -> None:
    inquiry = Inquiry("token", lambda kind, seconds: None, seconds=0.1)

    async def send() -> None:
        await asyncio.sleep(30)

    start = time.monotonic()
    with pytest.raises(ClusterUnavailableError, match=r"did not answer within 0\.1 s"):
        await inquiry.put(send)
    assert time.monotonic() - start < 1


async def test_a_server_that_wants_quiet_gets_it(
    server: ReviewServer, access: ClusterAccess
) -> None:
    metadata = bearer(server.issue_token("team-a"))
    server.answer = lambda request: web.Response(status=429, headers={"Retry-After": "1"})
    with pytest.raises(ClusterUnavailableError, match="429"):
        await access.identify(metadata)
    server.answer = None
    with pytest.raises(ClusterUnavailableError, match="left alone"):
        await access.identify(metadata)
    assert server.requests == 1
    await asyncio.sleep(1.05)
    assert (await access.identify(metadata)).tenant == "team-a"


@pytest.mark.timed
async def test_remembered_answers_serve_while_the_server_is_away() -> None:
    server = ReviewServer()
    async with server:
        server.allow("team-a", "get")
        metadata, other = (bearer(server.issue_token("team-a")) for _ in range(2))
        api_client = server.api_client()
        access = ClusterAccess(api_client, AUDIENCE)
        caller = await access.identify(metadata)
        await access.authorise(caller, Verb.GET, "aer")
    start = time.monotonic()
    assert await access.identify(metadata) == caller
    await access.authorise(caller, Verb.GET, "aer")
    with pytest.raises(ClusterUnavailableError):
        await access.identify(other)
    assert time.monotonic() - start < 2
    async with server:  # on the same port
        assert (await access.identify(other)).tenant == "team-a"
    await api_client.close()
