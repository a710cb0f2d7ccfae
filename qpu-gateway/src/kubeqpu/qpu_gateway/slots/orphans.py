"""Cancels the jobs of pods that are gone."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Protocol

import structlog

from kubeqpu.common.backoff import Backoff
from kubeqpu.qpu_gateway.jobs import Submitter

_LOG = structlog.get_logger(__name__)

_LONGEST_PAUSE_SECONDS = 5.0


class JobStore(Protocol):
    """Where jobs are stored."""

    async def list_submitters(self) -> list[Submitter]:
        """Lists the pods with unfinished jobs that end with them."""

    async def list_followers(self, submitter: Submitter) -> list[str]:
        """Lists the ids of a pod's unfinished jobs that end with it."""


def find_orphaned(
    submitters: Collection[Submitter],
    covered: Callable[[Submitter], bool],
    since: Mapping[Submitter, float],
    now: float,
) -> dict[Submitter, float]:
    """Finds the pods that hold nothing any more, and since when that is known.

    Args:
        submitters: Pods with unfinished jobs that end with them.
        covered: Whether a pod holds a slot, as far as is known.
        since: The last answer.
        now: The time.
    """
    return {item: since.get(item, now) for item in submitters if not covered(item)}


class Orphans:
    """Cancels jobs some time after their pod's holding ended.

    A pod that comes back in time keeps them. So does one whose successor of the same name has not
    shown its token, because it may be the same.

    Args:
        store: Where jobs are.
        covered: Whether a pod holds a slot of its job's QPU.
        cancel: Cancels a pod's job by its id, with a sentence that says why.
        grace_seconds: How long a pod may be gone.
    """

    def __init__(
        self,
        store: JobStore,
        covered: Callable[[Submitter], bool],
        cancel: Callable[[str, Submitter, str], Awaitable[None]],
        grace_seconds: float,
    ) -> None:
        self._store = store
        self._covered = covered
        self._cancel = cancel
        self._grace_seconds = grace_seconds
        self._since: dict[Submitter, float] = {}

    async def run(self) -> None:
        """Looks until cancelled; no error ends it."""
        backoff = Backoff(_LONGEST_PAUSE_SECONDS)
        pause = max(0.05, min(_LONGEST_PAUSE_SECONDS, self._grace_seconds / 4))
        while True:
            try:
                await self._look(time.monotonic())
            except Exception as error:
                if backoff.failures == 0:
                    _LOG.warning("Orphaned jobs not looked for", reason=str(error))
                await asyncio.sleep(backoff.fail())
            else:
                backoff.succeed()
                await asyncio.sleep(pause)

    async def _look(self, now: float) -> None:
        submitters = await self._store.list_submitters()
        self._since = find_orphaned(submitters, self._covered, self._since, now)
        for submitter, since in list(self._since.items()):
            if now - since < self._grace_seconds:
                continue
            message = (
                f"Cancelled because pod {submitter.tenant}/{submitter.pod}, which submitted it, no "
                f"longer holds a slot of QPU {submitter.qpu}; submit jobs that are to outlive "
                "their pod as `detached`."
            )
            for job_id in await self._store.list_followers(submitter):
                # It may have come back while others were cancelled.
                if self._covered(submitter):
                    break
                await self._cancel(job_id, submitter, message)
