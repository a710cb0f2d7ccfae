"""Callers and rights by reviews: what is asked, what is believed, and what a bad server does."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
import structlog
from structlog.testing import capture_logs

from kubeqpu.qpu_gateway.access import Caller, EmbeddedAccess, Pod, Verb
from kubeqpu.qpu_gateway.access.cluster import ClusterAccess
from kubeqpu.qpu_gateway.access.refusals import LogBudget
from kubeqpu.qpu_gateway.errors import (
    InvalidRequestError,
    PermissionDeniedError,
    UnauthenticatedError,
)
from kubeqpu.qpu_gateway.jobs import Submitter
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


async def test_a_caller_is_what_the_api_server_says(
    server: ReviewServer, access: ClusterAccess
) -> None:
    caller = await access.identify(bearer(server.issue_token("team-a", pod="job-0")))
    assert (caller.tenant, caller.namespace) == ("team-a", "team-a")
    assert caller.user == "system:serviceaccount:team-a:default"
    assert caller.pod == Pod("job-0", "uid-of-job-0", "node-1")
    assert "system:serviceaccounts:team-a" in caller.groups
    assert server.token_reviews[0]["audiences"] == [AUDIENCE]
    assert (await access.identify(bearer(server.issue_token("team-a")))).pod is None


async def test_rights_are_asked_for_in_the_tenants_namespace(
    server: ReviewServer, access: ClusterAccess
) -> None:
    server.allow("team-a", "create", qpu="fez")
    caller = await access.identify(bearer(server.issue_token("team-a", pod="p")))
    await access.authorise(caller, Verb.CREATE, "fez")
    spec = server.access_reviews[0]
    assert spec["resourceAttributes"] == {
        "group": "kubeqpu.io", "resource": "qpus", "subresource": "jobs", "name": "fez",
        "namespace": "team-a", "verb": "create",
    }  # fmt: skip
    assert (spec["user"], spec["uid"]) == (caller.user, caller.uid)
    assert spec["groups"] == list(caller.groups)
    assert spec["extra"] == {key: list(values) for key, values in caller.extra}
    for verb, qpu in ((Verb.GET, "fez"), (Verb.CREATE, "aer")):
        with pytest.raises(PermissionDeniedError) as refused:
            await access.authorise(caller, verb, qpu)
        command = (
            f"kubectl auth can-i {verb} qpus.kubeqpu.io/{qpu} --subresource=jobs "
            f"--namespace=team-a --as={caller.user}"
        )
        assert command in str(refused.value)
        assert "RoleBinding to ClusterRole kubeqpu-user in namespace team-a" in str(refused.value)


async def test_the_named_tenant_must_be_the_callers_own(
    server: ReviewServer, access: ClusterAccess
) -> None:
    token = server.issue_token("team-a")
    assert (await access.identify(claim(token, "team-a"))).tenant == "team-a"
    with pytest.raises(PermissionDeniedError, match="its tenant is its namespace, team-a"):
        await access.identify(claim(token, "team-b"))
    with pytest.raises(InvalidRequestError, match="not a namespace"):
        await access.identify(claim(token, "Team B"))


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ([], "has no token"),
        ([("authorization", "Basic dTpw")], "has no token"),
        ([("authorization", "Bearer ")], "has no token"),
        (bearer("opaque"), "not a JSON Web Token"),
        (bearer("a.b.c"), "claims cannot be read"),
        (bearer("a.W10.c"), "claims cannot be read"),
        (bearer("a." + "A" * 20_000 + ".c"), "not a JSON Web Token"),
        (bearer("a.e30.c"), "it is for nobody in particular"),
    ],
)
async def test_what_is_no_token_is_refused_without_asking(
    server: ReviewServer, access: ClusterAccess, metadata: list[tuple[str, str]], reason: str
) -> None:
    with pytest.raises(UnauthenticatedError, match=reason) as refused:
        await access.identify(metadata)
    assert f"Mount a projected ServiceAccount token with audience {AUDIENCE}" in str(refused.value)
    assert server.requests == 0


async def test_tokens_that_do_not_count_are_refused_with_the_reason(
    server: ReviewServer, access: ClusterAccess
) -> None:
    other = server.issue_token("team-a", audience="https://kubernetes.default.svc")
    deleted = server.issue_token("team-a")
    server.revoke_token(deleted)
    person = server.issue_token("team-a", user="jane")
    node = server.issue_token("team-a", user="system:node:node-1")
    half = server.issue_token("team-a", user="system:serviceaccount:team-a:")
    for token, reason in (
        (other, "it is for https://kubernetes.default.svc, not for audience kubeqpu.io/gateway"),
        (server.issue_token("team-a", seconds=-5), "it has expired"),
        (deleted, "the API server does not accept it"),
        (person, "it is no ServiceAccount's"),
        (node, "it is no ServiceAccount's"),
        (half, "it is no ServiceAccount's"),
    ):
        with pytest.raises(UnauthenticatedError, match=reason):
            await access.identify(bearer(token))
    server.audiences = []
    with pytest.raises(UnauthenticatedError, match="not for audience"):
        await access.identify(bearer(server.issue_token("team-a")))


async def test_a_thousand_calls_cost_two_requests(
    server: ReviewServer, access: ClusterAccess
) -> None:
    server.allow("team-a", "get")
    metadata = bearer(server.issue_token("team-a"))

    async def call() -> None:
        await access.authorise(await access.identify(metadata), Verb.GET, "aer")

    await asyncio.gather(*(call() for _ in range(500)))
    for _ in range(500):
        await call()
    assert (len(server.token_reviews), len(server.access_reviews)) == (1, 1)


async def test_tenants_never_get_each_others_answers(
    server: ReviewServer, access: ClusterAccess
) -> None:
    server.allow("team-a", "get")
    tokens = {name: server.issue_token(name) for name in ("team-a", "team-b")}
    for _ in range(3):
        for name, token in tokens.items():
            caller = await access.identify(bearer(token))
            assert caller.tenant == name
            if name == "team-a":
                await access.authorise(caller, Verb.GET, "aer")
            else:
                with pytest.raises(PermissionDeniedError):
                    await access.authorise(caller, Verb.GET, "aer")
    assert server.requests == 4


async def test_what_was_taken_away_counts_no_longer_than_remembered(server: ReviewServer) -> None:
    server.allow("team-a", "get")
    token = server.issue_token("team-a")
    async with server.api_client() as api_client:
        access = ClusterAccess(api_client, AUDIENCE, accepted_seconds=0.3)
        caller = await access.identify(bearer(token))
        await access.authorise(caller, Verb.GET, "aer")
        server.rights.clear()
        server.revoke_token(token)
        await access.authorise(await access.identify(bearer(token)), Verb.GET, "aer")
        await asyncio.sleep(0.35)
        with pytest.raises(PermissionDeniedError):
            await access.authorise(caller, Verb.GET, "aer")
        with pytest.raises(UnauthenticatedError):
            await access.identify(bearer(token))


async def test_no_verdict_outlives_its_token(server: ReviewServer, access: ClusterAccess) -> None:
    metadata = bearer(server.issue_token("team-a", seconds=0.4))
    await access.identify(metadata)
    await asyncio.sleep(0.5)
    with pytest.raises(UnauthenticatedError, match="it has expired"):
        await access.identify(metadata)


async def test_a_holder_passes_where_rbac_would_refuse(server: ReviewServer) -> None:
    class Slots:
        def holds(self, caller: Caller, qpu: str) -> bool:
            return caller.pod is not None and qpu == "fez"

        async def may(self, caller: Caller, verb: Verb, qpu: str) -> bool:
            return self.holds(caller, qpu) and verb == Verb.CREATE

        def is_present(self, submitter: Submitter) -> bool:
            return False

        async def wait(self, caller: Caller, verb: Verb, qpu: str) -> bool:
            return qpu == "late"

    async with server.api_client() as api_client:
        access = ClusterAccess(api_client, AUDIENCE, holders=Slots())
        caller = await access.identify(bearer(server.issue_token("team-a", pod="p")))
        await access.authorise(caller, Verb.CREATE, "fez")
        assert not server.access_reviews
        with pytest.raises(PermissionDeniedError):
            await access.authorise(caller, Verb.DELETE, "fez")
        # RBAC decides before anybody waits.
        await access.authorise(caller, Verb.GET, "late")
        assert len(server.access_reviews) == 2
        with pytest.raises(PermissionDeniedError):
            await access.authorise(caller, Verb.GET, "late", patient=False)


async def test_refusals_are_logged_with_user_and_reason_and_no_token(
    server: ReviewServer, access: ClusterAccess
) -> None:
    token = server.issue_token("team-a")
    caller = await access.identify(bearer(token))
    late = server.issue_token("team-a", seconds=-1)
    structlog.reset_defaults()
    with capture_logs() as logs:
        with pytest.raises(PermissionDeniedError):
            await access.authorise(caller, Verb.CREATE, "aer")
        with pytest.raises(UnauthenticatedError):
            await access.identify(bearer(late))
    assert [(line["event"], line["user"], line["reason"]) for line in logs] == [
        ("Right refused", caller.user, "create jobs on QPU aer"),
        ("Caller refused", caller.user, "it has expired"),
    ]
    assert late.rpartition(".")[2] not in str(logs)


def test_a_log_budget_says_what_it_left_out() -> None:
    now = 0.0
    budget = LogBudget(burst=2, per_second=0.5, clock=lambda: now)
    assert [budget.spend() for _ in range(4)] == [0, 0, None, None]
    now = 2.0
    assert [budget.spend(), budget.spend()] == [2, None]


async def test_embedded_mode_believes_everybody() -> None:
    access = EmbeddedAccess()
    assert (await access.identify([])).tenant == "local"
    caller = await access.identify([("kubeqpu-tenant", "team-a")])
    assert caller == Caller("team-a")
    await access.authorise(caller, Verb.DELETE, "anything")
    with pytest.raises(InvalidRequestError, match="not a namespace"):
        await access.identify([("kubeqpu-tenant", "A b")])
