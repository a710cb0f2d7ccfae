"""A stand-in for the API server, as far as our components speak to it; it breaks when told to."""

import asyncio
import contextlib
import itertools
import json
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from kubernetes.aio import client

Object = dict[str, Any]


class ObjectServer:
    """Keeps objects in memory, by plural and name.

    Attributes:
        objects: What there is.
        requests: Method and path of every request.
        answer: Status with which every request is refused; None serves.
        refuse: Status with which a request is refused, by its method and path; None serves.
        delay_seconds: Time that every answer takes.
        kinds: Plurals by group and version, for those who look what is served.
        gone: How many of the next watches are refused because their version is too old.
        gone_by_status: Whether that is told by the HTTP status and not by an event.
    """

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str], Object] = {}
        self.requests: list[tuple[str, str]] = []
        self.answer: int | None = None
        self.refuse: Callable[[str, str], int | None] = lambda method, path: None
        self.delay_seconds = 0.0
        self.kinds: dict[str, list[str]] = {}
        self.gone = 0
        self.gone_by_status = False
        self._versions = itertools.count(100)
        self._watches: dict[asyncio.Queue[Object | None], tuple[str, str, str]] = {}
        # What changed; a watch begins after the version that it names.
        self._history: deque[_Change] = deque(maxlen=10_000)

    def put(self, plural: str, manifest: Object) -> Object:
        """Makes or replaces an object; watches see it."""
        key = (plural, manifest["metadata"]["name"])
        old = self.objects.get(key)
        metadata = {**manifest["metadata"], "resourceVersion": str(next(self._versions))}
        metadata.setdefault("uid", f"uid-{metadata['resourceVersion']}")
        metadata.setdefault("generation", 1)
        if old is not None and old.get("spec") != manifest.get("spec"):
            metadata["generation"] = old["metadata"]["generation"] + 1
        made = self.objects[key] = {**manifest, "metadata": metadata}
        self._tell(_Change(plural, old, made))
        return made

    def delete(self, plural: str, name: str) -> None:
        """Deletes an object; watches see it."""
        found = self.objects.pop((plural, name))
        metadata = {**found["metadata"], "resourceVersion": str(next(self._versions))}
        self._tell(_Change(plural, found, None, {**found, "metadata": metadata}))

    def get(self, plural: str, name: str) -> Object | None:
        """Gives an object, or None."""
        return self.objects.get((plural, name))

    def bind(self, pod: str, node: str) -> Object:
        """Gives a pod a node, as a scheduler does."""
        found = self.objects[("pods", pod)]
        return self.put("pods", {**found, "spec": {**found["spec"], "nodeName": node}})

    def drop_watches(self) -> None:
        """Ends all watches, as a server that restarts does."""
        for queue in self._watches:
            queue.put_nowait(None)

    def count(self, method: str, part: str) -> int:
        """Counts requests whose path has a part."""
        return sum(found[0] == method and part in found[1] for found in self.requests)

    @asynccontextmanager
    async def serve(
        self, add_routes: Callable[[web.Application], None] = lambda application: None
    ) -> AsyncIterator[client.ApiClient]:
        """Serves on loopback and gives a client of it.

        Args:
            add_routes: Adds what else is served there.
        """
        application = web.Application()
        add_routes(application)
        application.router.add_route("*", "/{path:.*}", self._handle)
        runner = web.AppRunner(application, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        configuration = client.Configuration()
        configuration.host = f"http://{host}:{port}"
        try:
            async with client.ApiClient(configuration) as api_client:
                yield api_client
        finally:
            self.drop_watches()
            await runner.cleanup()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append((request.method, request.path))
        await asyncio.sleep(self.delay_seconds)
        status = self.answer or self.refuse(request.method, request.path)
        if status is not None:
            return _refuse(status, "the test says so")
        # apis/<group>/<version>[/namespaces/<namespace>]/<plural>[/<name>[/status]], and
        # api/<version>/... for the core group.
        parts = request.path.strip("/").split("/")
        parts = parts[2:] if parts[0] == "api" else parts[3:]
        if not parts:
            return self._discover(request.path.removeprefix("/apis/"))
        if parts[0] == "namespaces":
            parts = parts[2:]
        plural, name, *rest = [*parts, ""] if len(parts) == 1 else parts
        if request.method == "POST":
            return await self._create(request, plural)
        if not name:
            return await self._list(request, plural)
        if request.content_type == "application/merge-patch+json":
            return await self._merge(request, plural, name)
        if request.method == "PATCH":
            return await self._apply(request, plural, name, rest == ["status"])
        found = self.get(plural, name)
        return _refuse(404, f"{name} not found") if found is None else web.json_response(found)

    def _discover(self, group_version: str) -> web.Response:
        if group_version not in self.kinds:
            return _refuse(404, "the server could not find the requested resource")
        found = [{"name": plural} for plural in self.kinds[group_version]]
        return web.json_response({"groupVersion": group_version, "resources": found})

    async def _apply(
        self, request: web.Request, plural: str, name: str, status: bool
    ) -> web.Response:
        assert request.content_type == "application/apply-patch+yaml"
        sent = json.loads(await request.text())
        old = self.get(plural, name)
        if status and old is None:
            return _refuse(404, f"{name} not found")
        uid = sent["metadata"].get("uid")
        if uid is not None and old is not None and uid != old["metadata"]["uid"]:
            return _refuse(409, "Precondition failed: UID")
        base: Object = old or {"apiVersion": sent["apiVersion"], "kind": sent["kind"]}
        if status:
            made = {**base, "status": sent["status"]}
        else:
            spec = {**base.get("spec", {}), **sent.get("spec", {})}
            metadata = {**base.get("metadata", {}), **sent["metadata"]}
            made = {**base, "spec": spec, "metadata": metadata}
        if made != old:
            made = self.put(plural, made)
        return web.json_response(made, status=200 if old else 201)

    async def _create(self, request: web.Request, plural: str) -> web.Response:
        sent = json.loads(await request.text())
        if self.get(plural, sent["metadata"]["name"]) is not None:
            return _refuse(409, f"{sent['metadata']['name']} already exists")
        return web.json_response(self.put(plural, sent), status=201)

    async def _merge(self, request: web.Request, plural: str, name: str) -> web.Response:
        found = self.get(plural, name)
        if found is None:
            return _refuse(404, f"{name} not found")
        patch = json.loads(await request.text())
        for key in ("resourceVersion", "uid"):
            sent = patch.get("metadata", {}).get(key)
            if sent not in (None, found["metadata"][key]):
                return _refuse(409, f"Precondition failed: {key}")
        return web.json_response(self.put(plural, _merged(found, patch)))

    async def _list(self, request: web.Request, plural: str) -> web.StreamResponse:
        chosen = (request.query.get("labelSelector", ""), request.query.get("fieldSelector", ""))
        if request.query.get("watch") != "true":
            items = [
                found
                for key, found in self.objects.items()
                if key[0] == plural and _is_selected(found, *chosen)
            ]
            version = str(next(self._versions))
            return web.json_response({"items": items, "metadata": {"resourceVersion": version}})
        if self.gone:
            self.gone -= 1
            if self.gone_by_status:
                return _refuse(410, "too old resource version")
            event = {"type": "ERROR", "object": {"code": 410, "message": "too old"}}
            return web.Response(text=json.dumps(event) + "\n")
        queue: asyncio.Queue[Object | None] = asyncio.Queue()
        since = int(request.query.get("resourceVersion") or 0)
        for change in self._history:
            told_then = change.describe(plural, *chosen)
            if told_then is not None and change.version > since:
                queue.put_nowait(told_then)
        self._watches[queue] = (plural, *chosen)
        response = web.StreamResponse()
        try:
            await response.prepare(request)
            with contextlib.suppress(ConnectionError):
                while (told := await queue.get()) is not None:
                    await response.write(json.dumps(told).encode() + b"\n")
        finally:
            del self._watches[queue]
        return response

    def _tell(self, change: "_Change") -> None:
        self._history.append(change)
        for queue, watched in self._watches.items():
            event = change.describe(*watched)
            if event is not None:
                queue.put_nowait(event)


@dataclass(frozen=True)
class _Change:
    """What became of an object; deleted, it has a last state with a version of its own."""

    plural: str
    before: Object | None
    after: Object | None
    last: Object | None = None

    @property
    def version(self) -> int:
        return int((self.after or self.last or {})["metadata"]["resourceVersion"])

    def describe(self, plural: str, labels: str, fields: str) -> Object | None:
        """Tells it to a watch: what is selected no more is deleted for it."""
        if plural != self.plural:
            return None
        was = self.before is not None and _is_selected(self.before, labels, fields)
        now = self.after is not None and _is_selected(self.after, labels, fields)
        if not was and not now:
            return None
        kind = "DELETED" if not now else "MODIFIED" if was else "ADDED"
        return {"type": kind, "object": self.after or self.last}


def _is_selected(found: Object, labels: str, fields: str) -> bool:
    """Tells whether an object fits: labels `key=value,...`, fields `path=value,path!=value,...`."""
    own = found["metadata"].get("labels", {})
    parts = (part.partition("=") for part in labels.split(",") if part)
    if not all(own.get(key) == value for key, _, value in parts):
        return False
    for part in filter(None, fields.split(",")):
        path, _, value = part.partition("=")
        there: Any = found
        for key in path.removesuffix("!").split("."):
            there = there.get(key, {})
        if (str(there or "") == value) is path.endswith("!"):
            return False
    return True


def _merged(old: Object, patch: Object) -> Object:
    made = dict(old)
    for key, value in patch.items():
        if isinstance(value, dict):
            made[key] = _merged(made.get(key, {}), value)
        elif value is None:
            made.pop(key, None)
        else:
            made[key] = value
    return made


def _refuse(status: int, message: str) -> web.Response:
    content = {"kind": "Status", "code": status, "message": message}
    return web.json_response(content, status=status)
