"""The two reviews of the API server: whose token this is, and whether a caller may do something."""

from kubernetes.aio import client

from kubeqpu.common.names import DOMAIN
from kubeqpu.qpu_gateway.access.callers import Caller, Pod, Verb

_ACCOUNT = "system:serviceaccount:"
_EXTRA = "authentication.kubernetes.io/"


async def review_token(
    api: client.AuthenticationV1Api, token: str, audience: str
) -> client.V1TokenReviewStatus:
    """Asks whose token this is; raises what the client raises."""
    spec = client.V1TokenReviewSpec(token=token, audiences=[audience])
    answer = await api.create_token_review(client.V1TokenReview(spec=spec))
    if answer.status is None:
        raise ValueError("the review has no status")
    return answer.status


def read_caller(status: client.V1TokenReviewStatus, audience: str) -> Caller:
    """Reads who calls from a review.

    Args:
        status: What the API server found.
        audience: Audience that the token must have.

    Returns:
        The ServiceAccount, its namespace as tenant.

    Raises:
        ValueError: If it is nobody who may call; the message says why, after "because".
    """
    if not status.authenticated or status.user is None:
        raise ValueError("the API server does not accept it")
    # Authenticators that know no audiences accept tokens for everybody and list none.
    if audience not in (status.audiences or []):
        raise ValueError(f"it is not for audience {audience}")
    user = status.user.username or ""
    namespace, _, name = user.removeprefix(_ACCOUNT).partition(":")
    if not user.startswith(_ACCOUNT) or not namespace or not name:
        raise ValueError("it is no ServiceAccount's")
    extra = status.user.extra or {}
    return Caller(
        tenant=namespace,
        user=user,
        uid=status.user.uid or "",
        groups=tuple(status.user.groups or ()),
        extra=tuple((key, tuple(extra[key])) for key in sorted(extra)),
        pod=_read_pod(extra),
    )


async def review_access(
    api: client.AuthorizationV1Api, caller: Caller, verb: Verb, qpu: str
) -> bool:
    """Asks whether a caller may do this with its tenant's jobs; raises what the client raises."""
    attributes = client.V1ResourceAttributes(
        group=DOMAIN,
        resource="qpus",
        subresource="jobs",
        name=qpu,
        # A RoleBinding counts only where a namespace is asked for.
        namespace=caller.namespace,
        verb=str(verb),
    )
    spec = client.V1SubjectAccessReviewSpec(
        resource_attributes=attributes,
        user=caller.user,
        uid=caller.uid,
        groups=list(caller.groups),
        extra={key: list(values) for key, values in caller.extra},
    )
    answer = await api.create_subject_access_review(client.V1SubjectAccessReview(spec=spec))
    if answer.status is None:
        raise ValueError("the review has no status")
    return answer.status.allowed and not answer.status.denied


def _read_pod(extra: dict[str, list[str]]) -> Pod | None:
    def read(key: str) -> str:
        values = extra.get(f"{_EXTRA}{key}", [])
        return values[0] if len(values) == 1 else ""

    name, uid = read("pod-name"), read("pod-uid")
    return Pod(name, uid, read("node-name")) if name and uid else None
