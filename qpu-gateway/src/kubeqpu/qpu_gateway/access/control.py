"""Access as the RPCs use it: counted, over several QPUs, and again while a stream goes on."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Collection
from typing import TypeVar

from kubeqpu.qpu_gateway.access import sentences
from kubeqpu.qpu_gateway.access.callers import Access, Caller, Metadata, Verb
from kubeqpu.qpu_gateway.errors import (
    ClusterUnavailableError,
    InvalidRequestError,
    PermissionDeniedError,
    UnauthenticatedError,
)
from kubeqpu.qpu_gateway.jobs import Submitter
from kubeqpu.qpu_gateway.telemetry import Telemetry

T = TypeVar("T")

_RETRY_SECONDS = 5.0
# So many times the seconds between checks, the API server may be away.
_TOLERANCE = 1.25


class StandingRight:
    """A right that is used for a while, and asked for again meanwhile.

    Args:
        ask: Raises if the right is gone.
        check_seconds: How often to ask.
        clock: Gives seconds that never go back.
    """

    def __init__(
        self,
        ask: Callable[[], Awaitable[None]],
        check_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ask = ask
        self._check_seconds = check_seconds
        self._clock = clock
        self._proven_at = clock()
        self._ask_at = self._next_time()

    @property
    def idle_seconds(self) -> float:
        """How long it may go unchecked from now."""
        return max(0.0, self._ask_at - self._clock())

    async def check(self) -> None:
        """Asks for the right again if it is time to.

        Raises:
            UnauthenticatedError: If the caller is nobody any more.
            PermissionDeniedError: If it lost the right.
            ClusterUnavailableError: If the API server has been away for too long.
        """
        if self._clock() < self._ask_at:
            return
        try:
            await self._ask()
        except ClusterUnavailableError:
            now = self._clock()
            if now - self._proven_at >= _TOLERANCE * self._check_seconds:
                raise
            self._ask_at = now + min(_RETRY_SECONDS, self._check_seconds)
        else:
            self._proven_at = self._clock()
            self._ask_at = self._next_time()

    def _next_time(self) -> float:
        # Streams that began together need not ask together.
        spread = random.uniform(0.8, 1.0)  # noqa: S311 - jitter, no secret
        return self._clock() + self._check_seconds * spread


class AccessControl:
    """Asks for callers and rights, and counts the answers.

    Args:
        access: Knows them.
        telemetry: Told what the answers were.
    """

    def __init__(self, access: Access, telemetry: Telemetry) -> None:
        self._access = access
        self._telemetry = telemetry

    async def identify(self, metadata: Metadata | None) -> Caller:
        """Tells who calls; raises as `Access.identify` does."""
        asked = self._access.identify(metadata or ())
        return await _count(asked, self._telemetry.count_authentication)

    async def authorise(self, caller: Caller, verb: Verb, qpu: str, patient: bool = True) -> None:
        """Lets a caller that may do this pass; raises as `Access.authorise` does."""
        asked = self._access.authorise(caller, verb, qpu, patient)
        await _count(asked, self._telemetry.count_authorisation)

    def holds(self, caller: Caller, qpu: str) -> bool:
        """Tells whether the caller's pod holds a slot of a QPU."""
        return self._access.holds(caller, qpu)

    def is_present(self, submitter: Submitter) -> bool:
        """Tells whether the pod that submitted a job may still hold a slot."""
        return self._access.is_present(submitter)

    async def find_permitted(
        self, caller: Caller, verb: Verb, qpus: Collection[str], patient: bool = False
    ) -> frozenset[str]:
        """Finds the QPUs on which a caller may do something.

        Args:
            caller: Who calls.
            verb: What it wants to do with jobs of its tenant.
            qpus: The QPUs to ask for.
            patient: Whether to wait a moment for news of a pod that has just started.

        Raises:
            ClusterUnavailableError: If the API server does not answer.
        """
        if self._access.check_seconds is None:
            return frozenset(qpus)
        names = sorted(qpus)
        answers = await asyncio.gather(*(self._may(caller, verb, name, patient) for name in names))
        return frozenset(name for name, may in zip(names, answers, strict=True) if may)

    async def require_any(
        self, caller: Caller, verb: Verb, qpus: Collection[str]
    ) -> frozenset[str]:
        """Finds the QPUs on which a caller may do something, at least one.

        Raises:
            PermissionDeniedError: If there is none.
            ClusterUnavailableError: If the API server does not answer.
        """
        permitted = await self.find_permitted(caller, verb, qpus)
        # Who may use one, waits for no other.
        permitted = permitted or await self.find_permitted(caller, verb, qpus, patient=True)
        if not permitted:
            raise PermissionDeniedError(sentences.say_denied(caller, verb, None))
        return permitted

    def stand(self, metadata: Metadata | None, verb: Verb, qpu: str) -> StandingRight | None:
        """Gives a right that was just proven, to be proven again; None where none can end."""
        check_seconds = self._access.check_seconds
        if check_seconds is None:
            return None
        kept = tuple(metadata or ())

        async def ask() -> None:
            await self.authorise(await self.identify(kept), verb, qpu)

        return StandingRight(ask, check_seconds)

    async def _may(self, caller: Caller, verb: Verb, qpu: str, patient: bool) -> bool:
        try:
            await self.authorise(caller, verb, qpu, patient)
        except PermissionDeniedError:
            return False
        return True


async def _count(asked: Awaitable[T], count: Callable[[str], None]) -> T:
    try:
        answer = await asked
    except (UnauthenticatedError, PermissionDeniedError, InvalidRequestError):
        count("refused")
        raise
    except ClusterUnavailableError:
        count("unavailable")
        raise
    count("accepted")
    return answer
