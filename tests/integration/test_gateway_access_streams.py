"""Streams of results end when their right does; what access decides is counted."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from kubeqpu.proto.v1 import gateway_pb2
from tests.integration.gateway_support import (
    coin_spec,
    request,
    until,
)

if TYPE_CHECKING:
    pass

from tests.integration.access_support import (
    ALL,
    DENIED,
    NOBODY,
    UNAVAILABLE,
    Place,
    refuse,
    serve_place,
    stream,
)


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    async with serve_place(tmp_path, accepted_seconds=0.2, check_seconds=0.2) as found:
        yield found


@pytest.mark.timed
@pytest.mark.parametrize("loss", ["right", "token"])
async def test_a_silent_stream_ends_when_its_right_does(place: Place, loss: str) -> None:
    place.server.allow("team-a", *ALL)
    token = place.server.issue_token("team-a")
    place.coins.by_name["penny"].available.clear()
    async with place.connect(token) as stub:
        job = await stub.SubmitJob(request("key", coin_spec([[1.0]], qpu="penny")))
        reading = asyncio.create_task(stream(stub, job.id))
        await asyncio.sleep(1.0)
        assert not reading.done()
        if loss == "right":
            place.server.rights.clear()
        else:
            place.server.revoke_token(token)
        start = time.monotonic()
        code, _ = await refuse(asyncio.wait_for(reading, 10))
        assert code is (DENIED if loss == "right" else NOBODY)
        assert time.monotonic() - start < 2


async def test_a_busy_stream_ends_when_its_right_does(place: Place) -> None:
    place.server.allow("team-a", *ALL)
    coin = place.coins.by_name["penny"]
    coin.rows_per_chunk = 1
    sent = 0
    async with place.connect(place.server.issue_token("team-a")) as stub:

        def slow(chunk: gateway_pb2.ResultChunk) -> None:
            time.sleep(0.005)

        coin.chunk_hook = slow
        job = await stub.SubmitJob(request("key", coin_spec([[1.0] * 2000], qpu="penny")))

        async def read() -> None:
            nonlocal sent
            async for _ in stub.StreamResults(gateway_pb2.StreamResultsRequest(id=job.id)):
                sent += 1
                if sent == 20:
                    place.server.rights.clear()

        assert (await refuse(read()))[0] is DENIED
    assert 20 <= sent < 1000


async def test_a_stream_bridges_a_short_absence_of_the_api_server(tmp_path: Path) -> None:
    async with serve_place(tmp_path, accepted_seconds=0.2, check_seconds=2.0) as place:
        place.server.allow("team-a", *ALL)
        place.coins.by_name["penny"].available.clear()
        async with place.connect(place.server.issue_token("team-a")) as stub:
            job = await stub.SubmitJob(request("key", coin_spec([[1.0]], qpu="penny")))
            reading = asyncio.create_task(stream(stub, job.id))
            await until(lambda: len(place.server.token_reviews) > 1)
            await place.server.__aexit__(None, None, None)
            await asyncio.sleep(0.3)
            assert not reading.done()
            code, details = await refuse(stub.GetJob(gateway_pb2.GetJobRequest(id=job.id)))
            assert code is UNAVAILABLE
            assert "Try again" in details
            async with place.server:
                await asyncio.sleep(2.1)
                place.coins.by_name["penny"].available.set()
                final = await asyncio.wait_for(reading, 10)
                assert final.state == gateway_pb2.JOB_STATE_SUCCEEDED


async def test_what_access_decides_is_counted(place: Place) -> None:
    async def read() -> dict[tuple[str, str], float]:
        url = f"http://127.0.0.1:{place.gateway.metrics_port}/metrics"
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            families = list(text_string_to_metric_families(await response.text()))
        prefix = "kubeqpu_gateway_"
        return {
            (family.name.removeprefix(prefix), sample.labels["result"]): sample.value
            for family in families
            if family.name in {f"{prefix}authentications", f"{prefix}authorisations"}
            for sample in family.samples
            if sample.name.endswith("_total")
        }

    results = ("accepted", "refused", "unavailable")
    kinds = ("authentications", "authorisations")
    assert await read() == {(kind, result): 0 for kind in kinds for result in results}
    place.server.allow("team-a", "create")
    async with place.connect(place.server.issue_token("team-a")) as stub:
        job = await stub.SubmitJob(request("key", coin_spec([[1.0]], qpu="penny")))
        await refuse(stub.GetJob(gateway_pb2.GetJobRequest(id=job.id)))
    async with place.connect(None) as stub:
        await refuse(stub.ListQPUs(gateway_pb2.ListQPUsRequest()))
    assert await read() == {
        ("authentications", "accepted"): 2,
        ("authentications", "refused"): 1,
        ("authentications", "unavailable"): 0,
        ("authorisations", "accepted"): 1,
        ("authorisations", "refused"): 1,
        ("authorisations", "unavailable"): 0,
    }
