"""Answers like an API server, as far as the controller asks: versions, conflicts, merge, apply."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import yaml
from aiohttp import web
from kubernetes.aio import client

from kubeqpu.admission.cluster import Cluster

Object = dict[str, Any]
_GROUP = "/apis/kubeqpu.io/v1alpha1"
_NODES = "/api/v1/nodes"
_LEASES = "/apis/coordination.k8s.io/v1/namespaces/quantum/leases"


@dataclass
class APIStandIn:
    """A small API server.

    Attributes:
        objects: By path.
        requests: Method and path of every request.
        down: Whether it answers 503 to everything.
        refused_nodes: Nodes that it forbids to change.
        before_write: Runs before a write is looked at, as another writer would.
        posted: Events.
    """

    objects: dict[str, Object] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    posted: list[Object] = field(default_factory=list)
    kinds: list[str] = field(default_factory=lambda: ["qpus", "qpuclasses"])
    down: bool = False
    refused_nodes: set[str] = field(default_factory=set)
    before_write: Callable[[], None] = lambda: None
    _version: int = 1

    def put_qpu(self, name: str, conditions: list[Object]) -> None:
        self.put(f"{_GROUP}/qpus/{name}", {
            "apiVersion": "kubeqpu.io/v1alpha1", "kind": "QPU",
            "metadata": {"name": name, "uid": f"uid-{name}", "generation": 3,
                         "creationTimestamp": "2026-11-23T12:00:00Z"},
            "spec": {"provider": "aer"},
            "status": {"gateway": "gateway:7070", "conditions": conditions},
        })  # fmt: skip

    def put_lease(self, name: str, **spec: Any) -> None:
        self.put(f"{_LEASES}/{name}", {"metadata": {"name": name}, "spec": spec})

    def put_class(self, name: str, default: str | None) -> None:
        annotations = {} if default is None else {"kubeqpu.io/is-default-class": default}
        self.put(f"{_GROUP}/qpuclasses/{name}",
                 {"metadata": {"name": name, "annotations": annotations}})  # fmt: skip

    def put_node(self, name: str, **labels: str) -> None:
        self.put(f"{_NODES}/{name}", {"metadata": {"name": name, "labels": labels}})

    def delete_node(self, name: str) -> None:
        del self.objects[f"{_NODES}/{name}"]

    def labels(self, node: str) -> dict[str, str]:
        found: dict[str, str] = self.objects[f"{_NODES}/{node}"]["metadata"]["labels"]
        return found

    def node_names(self) -> set[str]:
        return {path.removeprefix(f"{_NODES}/") for path in self.objects if _NODES in path}

    def put(self, path: str, content: Object) -> None:
        self._version += 1
        content["metadata"]["resourceVersion"] = str(self._version)
        self.objects[path] = content

    def delete_class(self, name: str) -> None:
        del self.objects[f"{_GROUP}/qpuclasses/{name}"]

    def qpu(self, name: str) -> Object:
        return self.objects[f"{_GROUP}/qpus/{name}"]

    def lease(self, name: str) -> Object:
        return self.objects[f"{_LEASES}/{name}"]

    def classes(self) -> dict[str, Object]:
        at = f"{_GROUP}/qpuclasses/"
        return {path.removeprefix(at): one for path, one in self.objects.items() if at in path}

    async def handle(self, request: web.Request) -> web.Response:
        self.requests.append(f"{request.method} {request.path}")
        if self.down:
            return _refuse(503, "the server is currently unable to handle the request")
        if request.method == "GET":
            return self._get(request)
        self.before_write()
        body = yaml.safe_load(await request.text())
        if request.method == "POST":
            return self._post(request.path, body)
        if request.path.startswith(_NODES):
            return self._merge(request, body)
        return self._patch(request.path, body)

    def _get(self, request: web.Request) -> web.Response:
        path = request.path
        if path == _NODES:
            return self._list_nodes(request)
        if path.rstrip("/") == _GROUP:
            if not self.kinds:
                return _refuse(404, "not found")
            resources = [
                {"name": kind, "singularName": "", "namespaced": False, "kind": kind, "verbs": []}
                for kind in self.kinds
            ]
            return _answer({"groupVersion": "kubeqpu.io/v1alpha1", "resources": resources})
        if path == f"{_GROUP}/qpuclasses":
            return _answer({"items": list(self.classes().values())})
        if path not in self.objects:
            return _refuse(404, "not found")
        return _answer(self.objects[path])

    def _list_nodes(self, request: web.Request) -> web.Response:
        assert "as=PartialObjectMetadataList" in request.headers["Accept"]
        start, size = int(request.query.get("continue", 0)), int(request.query["limit"])
        found = [one for path, one in sorted(self.objects.items()) if path.startswith(_NODES)]
        rest = {"continue": str(start + size)} if start + size < len(found) else {}
        return _answer({"items": found[start : start + size], "metadata": rest})

    def _merge(self, request: web.Request, body: Object) -> web.Response:
        assert request.content_type == "application/merge-patch+json"
        if request.path not in self.objects:
            return _refuse(404, "not found")
        name = request.path.removeprefix(f"{_NODES}/")
        if name in self.refused_nodes:
            return _refuse(403, f"node {name} is forbidden")
        merged = {**self.labels(name), **body["metadata"]["labels"]}
        self.put_node(name, **{key: value for key, value in merged.items() if value is not None})
        return _answer(self.objects[request.path])

    def _post(self, path: str, body: Object) -> web.Response:
        if path.endswith("/events"):
            self.posted.append(body)
            return _answer(body)
        made = f"{path}/{body['metadata']['name']}"
        if made in self.objects:
            return _refuse(409, "already exists")
        self.put(made, body)
        return _answer(body)

    def _patch(self, path: str, body: Object) -> web.Response:
        at = path.removesuffix("/status")
        if at not in self.objects:
            return _refuse(404, "not found")
        found = self.objects[at]
        version = body["metadata"].get("resourceVersion")
        if version not in {None, found["metadata"]["resourceVersion"]}:
            return _refuse(409, "the object has been modified")
        if at == path:
            merged = {**found, "spec": {**found.get("spec", {}), **body["spec"]}}
        else:
            written = body["status"]["conditions"]
            types = {item["type"] for item in written}
            kept = [one for one in found["status"]["conditions"] if one["type"] not in types]
            merged = {**found, "status": {**found["status"], "conditions": [*kept, *written]}}
        self.put(at, {**merged, "metadata": dict(found["metadata"])})
        return _answer(self.objects[at])


@asynccontextmanager
async def serving_objects() -> AsyncIterator[tuple[APIStandIn, client.ApiClient]]:
    """Serves a stand-in, and gives it with a connection to it."""
    stand_in = APIStandIn()
    application = web.Application()
    handler: Callable[[web.Request], Awaitable[web.Response]] = stand_in.handle
    application.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    configuration = client.Configuration(host=f"http://127.0.0.1:{port}")
    try:
        async with client.ApiClient(configuration) as api_client:
            yield stand_in, api_client
    finally:
        await runner.cleanup()


@asynccontextmanager
async def serving() -> AsyncIterator[tuple[APIStandIn, Cluster]]:
    """Serves a stand-in, and gives it with a client for it."""
    async with serving_objects() as (stand_in, api_client):
        yield stand_in, Cluster(api_client, "quantum")


def _answer(content: Object) -> web.Response:
    return web.json_response(content)


def _refuse(status: int, message: str) -> web.Response:
    content = json.dumps({"kind": "Status", "message": message, "code": status})
    return web.Response(status=status, text=content, content_type="application/json")
