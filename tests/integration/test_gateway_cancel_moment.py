"""A job that is cancelled between the start of its batch and the batch's first step."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from pathlib import Path
from typing import Any

from kubeqpu.proto.v1 import gateway_pb2
from tests.integration.gateway_support import (
    Coins,
    coin_spec,
    collect,
    expected,
    make_settings,
    request,
    serve,
)


class CancelFirstBatch:
    """A task factory that cancels the first batch before it has taken a step.

    A cancellation that arrives at that moment meets code that has not run yet, so that none of its
    `finally` blocks do either.
    """

    def __init__(self) -> None:
        self.cancelled = asyncio.Event()

    def __call__(
        self,
        loop: asyncio.AbstractEventLoop,
        coroutine: Generator[Any, None, Any] | Coroutine[Any, Any, Any],
        **options: Any,
    ) -> asyncio.Task[Any]:
        task = asyncio.Task(coroutine, loop=loop, **options)
        name = getattr(coroutine, "__qualname__", "")
        if name == "Lane._run_batch" and not self.cancelled.is_set():
            task.cancel()
            self.cancelled.set()
        return task


async def test_a_batch_cancelled_before_its_first_step_frees_its_slot(tmp_path: Path) -> None:
    spec = coin_spec([[0.4] * 3])
    factory = CancelFirstBatch()
    async with serve(make_settings(tmp_path), Coins()) as (_, stub):
        asyncio.get_running_loop().set_task_factory(factory)
        first = await stub.SubmitJob(request("first", spec))
        await asyncio.wait_for(factory.cancelled.wait(), timeout=10)
        await stub.CancelJob(gateway_pb2.CancelJobRequest(id=first.id))
        second = await stub.SubmitJob(request("second", spec))
        results, final = await asyncio.wait_for(collect(stub, second.id), timeout=10)
    assert results == expected(spec)
    assert final.state == gateway_pb2.JOB_STATE_SUCCEEDED
