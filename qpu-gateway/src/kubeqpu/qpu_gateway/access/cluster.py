"""Access in a cluster: the API server knows the callers and their rights."""

import time
from collections.abc import Callable
from typing import Protocol, TypeAlias

import structlog
from kubernetes.aio import client

from kubeqpu.qpu_gateway.access import sentences
from kubeqpu.qpu_gateway.access.cache import Verdict, VerdictCache
from kubeqpu.qpu_gateway.access.callers import Caller, Metadata, Verb
from kubeqpu.qpu_gateway.access.inquiry import Inquiry
from kubeqpu.qpu_gateway.access.metadata import read_tenant, read_token
from kubeqpu.qpu_gateway.access.refusals import LogBudget
from kubeqpu.qpu_gateway.access.reviews import read_caller, review_access, review_token
from kubeqpu.qpu_gateway.access.tokens import Claims, digest_token, read_claims
from kubeqpu.qpu_gateway.errors import PermissionDeniedError, UnauthenticatedError
from kubeqpu.qpu_gateway.jobs import Submitter

_LOG = structlog.get_logger(__name__)

# A right that was taken away counts for this much longer; one that was given, comes sooner.
ACCEPTED_SECONDS = 10.0
REFUSED_SECONDS = 2.0
# The API server accepts a token for up to 10 s after its pod or account is gone, and answers are
# remembered here for as long: with these a stream outlives its right by at most a minute, whether
# the API server answers or not.
CHECK_SECONDS = 20.0
_REMEMBERED = 4096

_Right: TypeAlias = tuple[Caller, Verb, str]


class Holders(Protocol):
    """Knows who may use a QPU because of what it holds rather than by RBAC."""

    def holds(self, caller: Caller, qpu: str) -> bool:
        """Tells whether the caller holds what allows it, as far as is known; changes nothing."""

    def is_present(self, submitter: Submitter) -> bool:
        """Tells whether the pod that submitted a job may still hold what allowed it."""

    async def may(self, caller: Caller, verb: Verb, qpu: str) -> bool:
        """Tells at once whether the caller may do this; where not, RBAC decides."""

    async def wait(self, caller: Caller, verb: Verb, qpu: str) -> bool:
        """Tells the same of a caller whom RBAC refuses; waits a moment for news of it."""


class ClusterAccess:
    """Identifies callers by TokenReview and asks for their rights by SubjectAccessReview.

    Answers are remembered for a few seconds, so a caller in a loop costs the API server a fixed
    rate, and one that is away for a moment is not noticed.

    Args:
        api_client: The connection to the API server; stays open as long as this is used.
        audience: Audience that tokens must have.
        observe: Told each review's kind, token or access, and its seconds.
        holders: Asked before RBAC; None leaves it to RBAC alone.
        accepted_seconds: How long an answer that lets a caller pass is remembered.
        check_seconds: How often to ask again for a right that is in use.
    """

    def __init__(
        self,
        api_client: client.ApiClient,
        audience: str,
        observe: Callable[[str, float], None] = lambda kind, seconds: None,
        holders: Holders | None = None,
        accepted_seconds: float = ACCEPTED_SECONDS,
        check_seconds: float = CHECK_SECONDS,
    ) -> None:
        self.check_seconds = check_seconds
        self._accepted_seconds = accepted_seconds
        self._audience = audience
        self._holders = holders
        self._authentication = client.AuthenticationV1Api(api_client)
        self._authorization = client.AuthorizationV1Api(api_client)
        self._token_reviews = Inquiry("token", observe)
        self._access_reviews = Inquiry("access", observe)
        # By digest, so that no dump of memory or of keys shows a token; a reason in place of a
        # caller refuses.
        self._callers: VerdictCache[bytes, Caller | str] = VerdictCache(_REMEMBERED)
        self._rights: VerdictCache[_Right, bool] = VerdictCache(_REMEMBERED)
        self._log_budget = LogBudget()

    async def identify(self, metadata: Metadata) -> Caller:
        """Tells whose token came with the call.

        Raises:
            UnauthenticatedError: If there is none, or none of a ServiceAccount for this audience.
            PermissionDeniedError: If the caller names another tenant than its namespace.
            InvalidRequestError: If the tenant it names is not a namespace's name.
            ClusterUnavailableError: If the API server does not answer.
        """
        token = read_token(metadata)
        if token is None:
            raise UnauthenticatedError(sentences.say_token_missing(self._audience))
        found = await self._callers.get(digest_token(token), lambda: self._review_token(token))
        if isinstance(found, str):
            raise UnauthenticatedError(sentences.say_token_refused(found, self._audience))
        claimed = read_tenant(metadata)
        if claimed is not None and claimed != found.tenant:
            raise PermissionDeniedError(sentences.say_other_tenant(found, claimed))
        return found

    def holds(self, caller: Caller, qpu: str) -> bool:
        """Tells whether the caller's pod holds a slot of a QPU."""
        return self._holders is not None and self._holders.holds(caller, qpu)

    def is_present(self, submitter: Submitter) -> bool:
        """Tells whether the pod that submitted a job may still hold a slot."""
        return self._holders is not None and self._holders.is_present(submitter)

    async def authorise(self, caller: Caller, verb: Verb, qpu: str, patient: bool = True) -> None:
        """Lets a caller pass that holds what allows it, or whom RBAC allows it.

        Raises:
            PermissionDeniedError: If neither does.
            ClusterUnavailableError: If the API server does not answer.
        """
        if self._holders is not None and await self._holders.may(caller, verb, qpu):
            return
        right = (caller, verb, qpu)
        if await self._rights.get(right, lambda: self._review_access(right)):
            return
        # Only now: who has the right by RBAC waits for nothing.
        holders = self._holders if patient else None
        if holders is None or not await holders.wait(caller, verb, qpu):
            raise PermissionDeniedError(sentences.say_denied(caller, verb, qpu))

    async def _review_token(self, token: str) -> Verdict[Caller | str]:
        claims = Claims("", (), None)
        try:
            claims = read_claims(token)
            if self._audience not in claims.audiences:
                listed = ", ".join(claims.audiences)[:200] or "nobody in particular"
                raise ValueError(f"it is for {listed}, not for audience {self._audience}")
            asked_at = time.time()
            status = await self._token_reviews.put(
                lambda: review_token(self._authentication, token, self._audience)
            )
            caller = read_caller(status, self._audience)
        except ValueError as error:
            reason = str(error)
            if claims.expires_at is not None and claims.expires_at <= time.time():
                reason = "it has expired"
            self._log_refusal("Caller refused", claims.subject[:200], reason)
            return Verdict(reason, REFUSED_SECONDS)
        keep = self._accepted_seconds
        if claims.expires_at is not None:
            keep = min(keep, claims.expires_at - asked_at)
        return Verdict(caller, keep)

    async def _review_access(self, right: _Right) -> Verdict[bool]:
        caller, verb, qpu = right
        allowed = await self._access_reviews.put(
            lambda: review_access(self._authorization, caller, verb, qpu)
        )
        if not allowed:
            self._log_refusal("Right refused", caller.user, f"{verb} jobs on QPU {qpu}")
        return Verdict(allowed, self._accepted_seconds if allowed else REFUSED_SECONDS)

    def _log_refusal(self, event: str, user: str, reason: str) -> None:
        if (suppressed := self._log_budget.spend()) is not None:
            _LOG.info(event, user=user, reason=reason, suppressed=suppressed)
