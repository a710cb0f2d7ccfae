"""An API server that knows nothing but reviews: of tokens, and of who may do what."""

import asyncio
import base64
import hashlib
import json
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from aiohttp import web
from kubernetes.aio import client

AUDIENCE = "kubeqpu.io/gateway"
TOKENS = "/apis/authentication.k8s.io/v1/tokenreviews"
ACCESS = "/apis/authorization.k8s.io/v1/subjectaccessreviews"

Answer = Callable[[web.Request], web.StreamResponse]


def _encode(part: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")


@dataclass(frozen=True)
class Right:
    """What a RoleBinding in a namespace gives to a user; without QPU, all of them."""

    user: str
    namespace: str
    verb: str
    qpu: str | None = None


@dataclass
class ReviewServer:
    """Serves reviews on a port of the loopback; tests change what it knows while it runs.

    Attributes:
        rights: Who may do what.
        token_reviews: Every TokenReview's spec.
        access_reviews: Every SubjectAccessReview's spec.
        at_once: Most requests that were under way together.
        delay_seconds: How long each answer takes.
        answer: Answers instead, or None.
        audiences: Answers these audiences for accepted tokens instead of those asked for.
    """

    rights: set[Right] = field(default_factory=set)
    token_reviews: list[dict[str, Any]] = field(default_factory=list)
    access_reviews: list[dict[str, Any]] = field(default_factory=list)
    at_once: int = 0
    delay_seconds: float = 0.0
    answer: Answer | None = None
    audiences: list[str] | None = None

    def __post_init__(self) -> None:
        self._users: dict[str, dict[str, Any]] = {}
        self._pending = 0
        self._runner: web.AppRunner | None = None
        self.port = 0

    @property
    def requests(self) -> int:
        """How many requests came."""
        return len(self.token_reviews) + len(self.access_reviews)

    def issue_token(
        self,
        namespace: str,
        name: str = "default",
        *,
        audience: str = AUDIENCE,
        seconds: float = 3600.0,
        pod: str | None = None,
        pod_uid: str | None = None,
        node: str = "node-1",
        user: str | None = None,
    ) -> str:
        """Makes a token as the API server does, but for its signature, which is random."""
        user = user or f"system:serviceaccount:{namespace}:{name}"
        now = time.time()
        claims: dict[str, Any] = {
            "iss": "https://kubernetes.default.svc",
            "sub": user,
            "aud": [audience],
        }
        claims |= {"iat": int(now), "exp": now + seconds}
        head = _encode({"alg": "RS256", "kid": "k"})
        token = f"{head}.{_encode(claims)}.{secrets.token_urlsafe(32)}"
        extra = {"authentication.kubernetes.io/credential-id": [f"JTI={secrets.token_hex(8)}"]}
        if pod is not None:
            extra |= {
                "authentication.kubernetes.io/pod-name": [pod],
                "authentication.kubernetes.io/pod-uid": [pod_uid or f"uid-of-{pod}"],
                "authentication.kubernetes.io/node-name": [node],
            }
        groups = ["system:serviceaccounts", f"system:serviceaccounts:{namespace}"]
        self._users[token] = {
            "audience": audience,
            "ends": claims["exp"],
            "user": {
                "username": user,
                "uid": hashlib.sha256(user.encode()).hexdigest()[:8],
                "groups": [*groups, "system:authenticated"],
                "extra": extra,
            },
        }
        return token

    def revoke_token(self, token: str) -> None:
        """Forgets a token, as when its pod or ServiceAccount is deleted."""
        del self._users[token]

    def allow(self, namespace: str, *verbs: str, qpu: str | None = None) -> None:
        """Binds the namespace's default ServiceAccount to a role in its namespace."""
        user = f"system:serviceaccount:{namespace}:default"
        self.rights |= {Right(user, namespace, verb, qpu) for verb in verbs}

    def api_client(self) -> client.ApiClient:
        """Makes a client of this server."""
        return client.ApiClient(client.Configuration(host=f"http://127.0.0.1:{self.port}"))

    def add_routes(self, app: web.Application) -> None:
        """Lets an application serve the reviews."""
        app.router.add_post(TOKENS, self._review_token)
        app.router.add_post(ACCESS, self._review_access)

    async def __aenter__(self) -> Self:
        app = web.Application()
        self.add_routes(app)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    async def _review_token(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.token_reviews.append(body["spec"])
        return await self._respond(request, body, self._find_user(body["spec"]))

    async def _review_access(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        spec = body["spec"]
        self.access_reviews.append(spec)
        wanted = spec["resourceAttributes"]
        assert (wanted["group"], wanted["resource"], wanted["subresource"]) == (
            "kubeqpu.io",
            "qpus",
            "jobs",
        )
        base = (spec["user"], wanted["namespace"], wanted["verb"])
        allowed = not self.rights.isdisjoint({Right(*base), Right(*base, wanted["name"])})
        return await self._respond(request, body, {"allowed": allowed, "reason": ""})

    async def _respond(
        self, request: web.Request, body: dict[str, Any], status: dict[str, Any]
    ) -> web.StreamResponse:
        self._pending += 1
        self.at_once = max(self.at_once, self._pending)
        try:
            await asyncio.sleep(self.delay_seconds)
            if self.answer is not None:
                return self.answer(request)
            return web.json_response({**body, "status": status}, status=201)
        finally:
            self._pending -= 1

    def _find_user(self, spec: dict[str, Any]) -> dict[str, Any]:
        known = self._users.get(spec["token"])
        if known is None or known["ends"] <= time.time():
            return {"user": {}, "error": f"[invalid bearer token {spec['token']}]"}
        if known["audience"] not in spec["audiences"]:
            return {"user": {}, "error": "token audiences are invalid for the target audiences"}
        audiences = [known["audience"]] if self.audiences is None else self.audiences
        return {"authenticated": True, "user": known["user"], "audiences": audiences}
