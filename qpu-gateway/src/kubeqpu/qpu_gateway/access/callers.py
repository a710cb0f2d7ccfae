"""Callers as plain data, and what tells who they are and what they may do."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, TypeAlias

from kubeqpu.qpu_gateway.jobs import Submitter

Metadata: TypeAlias = Iterable[tuple[str, str | bytes]]


class Verb(StrEnum):
    """What a caller wants with jobs on a QPU; the names are those of RBAC rules."""

    CREATE = "create"
    GET = "get"
    DELETE = "delete"


@dataclass(frozen=True)
class Pod:
    """The pod that a token is bound to.

    Attributes:
        name: Its name.
        uid: Its uid, which no later pod of that name has.
        node: Name of its node; empty where the API server does not say.
    """

    name: str
    uid: str
    node: str = ""


@dataclass(frozen=True)
class Caller:
    """Who calls.

    Attributes:
        tenant: Whose jobs and blobs it uses: its namespace.
        user: Name of the user, such as system:serviceaccount:team:default.
        uid: Uid of the user.
        groups: Its groups.
        extra: What else the API server said about it, key by key in order.
        pod: The pod that its token is bound to, or None.
    """

    tenant: str
    user: str = ""
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: tuple[tuple[str, tuple[str, ...]], ...] = ()
    pod: Pod | None = None

    @property
    def namespace(self) -> str:
        """Its namespace, which is its tenant."""
        return self.tenant


class Access(Protocol):
    """Tells who calls and what they may do.

    Attributes:
        check_seconds: How often to ask again for a right that is in use; None where none is ever
            missing.
    """

    @property
    def check_seconds(self) -> float | None: ...  # noqa: D102 - described above

    async def identify(self, metadata: Metadata) -> Caller:
        """Tells who calls.

        Args:
            metadata: The call's metadata.

        Raises:
            UnauthenticatedError: If nobody vouches for the caller.
            PermissionDeniedError: If the caller claims another tenant than its own.
            InvalidRequestError: If the claimed tenant is not a namespace's name.
            ClusterUnavailableError: If it cannot be found out now.
        """

    def holds(self, caller: Caller, qpu: str) -> bool:
        """Tells whether the caller's pod holds a slot of a QPU, which is what lets it pass."""

    def is_present(self, submitter: Submitter) -> bool:
        """Tells whether the pod that submitted a job may still hold a slot."""

    async def authorise(self, caller: Caller, verb: Verb, qpu: str, patient: bool = True) -> None:
        """Lets a caller that may do this pass.

        Args:
            caller: Who calls.
            verb: What it wants to do with jobs of its tenant.
            qpu: The jobs' QPU.
            patient: Whether to wait a moment for news of a pod that has just started.

        Raises:
            PermissionDeniedError: If it may not.
            ClusterUnavailableError: If it cannot be found out now.
        """
