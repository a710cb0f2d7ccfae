"""Objects at the API server, as JSON: read, applied, listed and watched."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
from kubernetes.aio import client
from pydantic import JsonValue

from kubeqpu.common import api
from kubeqpu.qpu_gateway.errors import GatewayError

FIELD_MANAGER = "kubeqpu-gateway"
# The server ends a watch after this; then it is taken up where it was.
WATCH_SECONDS = 120
GONE, NOT_FOUND, CONFLICT = 410, 404, 409
_APPLY: Mapping[str, Any] = {
    "field_manager": FIELD_MANAGER,
    "force": True,
    "_content_type": "application/apply-patch+yaml",
}

Manifest = dict[str, JsonValue]


class APIServerError(GatewayError):
    """A request to the API server failed.

    Attributes:
        status: The HTTP status; 0 where there was no answer.
    """

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Resource:
    """Where objects of a kind are.

    Attributes:
        group: API group.
        version: Version of the group.
        plural: Name of the kind in paths.
        namespace: Their namespace, or None for a kind without.
    """

    group: str
    version: str
    plural: str
    namespace: str | None = None


QPUS = Resource(api.GROUP, api.VERSION, api.QPU.resource.plural)
QPU_CLASSES = Resource(api.GROUP, api.VERSION, api.QPUClass.resource.plural)
# The core group has no name, and paths of its own; it can be listed and watched.
NODES = Resource("", "v1", "nodes")
CLUSTER_ROLES = Resource("rbac.authorization.k8s.io", "v1", "clusterroles")


def leases(namespace: str) -> Resource:
    """Gives the place of a namespace's Leases."""
    return Resource("coordination.k8s.io", "v1", "leases", namespace)


@dataclass(frozen=True)
class Listing:
    """All objects of a kind at one moment.

    Attributes:
        items: The objects.
        resource_version: That moment; a watch goes on from it.
    """

    items: tuple[Manifest, ...]
    resource_version: str


@dataclass(frozen=True)
class WatchEvent:
    """One change.

    Attributes:
        type: `ADDED`, `MODIFIED`, `DELETED` or `BOOKMARK`, which tells a version and no change.
        object: The object as it is, or as it was last.
    """

    type: str
    object: Manifest


class ObjectsAPI:
    """Speaks to the API server.

    Everything is a custom object here: built-in kinds have paths of the same form, and of them
    only a few fields are needed. The answers are read here, for the client's own reading gives
    nothing for an object that was created.

    Args:
        api_client: The connection.
    """

    def __init__(self, api_client: client.ApiClient) -> None:
        self._custom = client.CustomObjectsApi(api_client)
        self._core = client.CoreV1Api(api_client)

    async def read(self, kind: Resource, name: str, seconds: float = 10.0) -> Manifest | None:
        """Reads an object; None if there is none.

        Raises:
            APIServerError: If the server does not answer in time, or refuses.
        """
        get = (
            self._custom.get_cluster_custom_object_without_preload_content
            if kind.namespace is None
            else self._custom.get_namespaced_custom_object_without_preload_content
        )
        try:
            async with _translated(f"read {kind.plural}/{name}", seconds):
                return await _read(await get(**_place(kind), name=name))
        except APIServerError as error:
            if error.status == NOT_FOUND:
                return None
            raise

    async def apply(self, kind: Resource, manifest: Manifest, seconds: float = 10.0) -> Manifest:
        """Applies an object server-side; fields of others become ours where they differ.

        Raises:
            APIServerError: If the server does not answer in time, or refuses.
        """
        patch = (
            self._custom.patch_cluster_custom_object_without_preload_content
            if kind.namespace is None
            else self._custom.patch_namespaced_custom_object_without_preload_content
        )
        name = name_of(manifest)
        async with _translated(f"apply {kind.plural}/{name}", seconds):
            return await _read(await patch(**_place(kind), name=name, body=manifest, **_APPLY))

    async def apply_status(
        self, kind: Resource, manifest: Manifest, seconds: float = 10.0
    ) -> Manifest:
        """Applies the status of a cluster-scoped object that exists; see `apply`."""
        patch = self._custom.patch_cluster_custom_object_status_without_preload_content
        name = name_of(manifest)
        async with _translated(f"apply {kind.plural}/{name}/status", seconds):
            return await _read(await patch(**_place(kind), name=name, body=manifest, **_APPLY))

    async def list(self, kind: Resource, selector: str = "", seconds: float = 10.0) -> Listing:
        """Lists the cluster-scoped objects whose labels fit.

        Raises:
            APIServerError: If the server does not answer in time, or refuses.
        """
        async with _translated(f"list {kind.plural}", seconds):
            listing = await _read(await self._list(kind, label_selector=selector or None))
        items = listing.get("items")
        return Listing(
            tuple(_manifest(item) for item in items) if isinstance(items, list) else (),
            version_of(listing),
        )

    async def watch(
        self, kind: Resource, resource_version: str, selector: str = ""
    ) -> AsyncGenerator[WatchEvent, None]:
        """Yields changes after a version until the server ends the watch.

        The library's own watch is not used: it starts again at once and for ever whatever the
        server says, and opens a second connection with default settings.

        Raises:
            APIServerError: If the server does not answer, refuses, or breaks off; status 410 where
                the version is too old, so that a new list is needed.
        """
        # The client's own time limit holds: the caller's code between two events is not in it.
        async with _translated(f"watch {kind.plural}", None):
            response = await self._list(
                kind,
                label_selector=selector or None,
                resource_version=resource_version,
                allow_watch_bookmarks=True,
                timeout_seconds=WATCH_SECONDS,
                watch=True,
                _request_timeout=WATCH_SECONDS + 15.0,
            )
            try:
                await _check(response)
                async for line in response.content:
                    yield _event(line)
            finally:
                response.close()

    async def _list(self, kind: Resource, **query: Any) -> aiohttp.ClientResponse:
        response: aiohttp.ClientResponse
        if kind == NODES:
            response = await self._core.list_node_without_preload_content(**query)
        else:
            get = self._custom.list_cluster_custom_object_without_preload_content
            response = await get(**_place(kind), **query)
        return response


def _place(kind: Resource) -> dict[str, Any]:
    place = {"group": kind.group, "version": kind.version, "plural": kind.plural}
    return place if kind.namespace is None else {**place, "namespace": kind.namespace}


def name_of(manifest: Mapping[str, JsonValue]) -> str:
    """Gives an object's name."""
    return _metadata(manifest, "name")


def version_of(manifest: Mapping[str, JsonValue]) -> str:
    """Gives an object's resource version, or a list's."""
    return _metadata(manifest, "resourceVersion")


def uid_of(manifest: Mapping[str, JsonValue]) -> str:
    """Gives an object's uid."""
    return _metadata(manifest, "uid")


def _metadata(manifest: Mapping[str, JsonValue], key: str) -> str:
    metadata = manifest.get("metadata")
    value = metadata.get(key) if isinstance(metadata, dict) else None
    return value if isinstance(value, str) else ""


def _manifest(found: object) -> Manifest:
    if not isinstance(found, dict):
        raise APIServerError(f"The API server answered with {type(found).__name__}, not an object.")
    return found


async def _read(response: aiohttp.ClientResponse) -> Manifest:
    try:
        await _check(response)
        return _manifest(json.loads(await response.read()))
    finally:
        response.release()


async def _check(response: aiohttp.ClientResponse) -> None:
    if not response.ok:
        text = await response.text(errors="replace")
        raise client.ApiException(response.status, response.reason, body=text)


def _event(line: bytes) -> WatchEvent:
    found = _manifest(json.loads(line))
    kind, content = found.get("type"), found.get("object")
    if kind == "ERROR" and isinstance(content, dict):
        code = content.get("code")
        raise APIServerError(
            f"The API server ended a watch: {content.get('message')}",
            code if isinstance(code, int) else 0,
        )
    if not isinstance(kind, str) or not isinstance(content, dict):
        raise APIServerError("The API server sent an event without type or object.")
    return WatchEvent(kind, content)


@asynccontextmanager
async def _translated(what: str, seconds: float | None) -> AsyncIterator[None]:
    """Gives up after a time, and turns whatever the client raises into our own error."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as error:
        limit = "in time" if seconds is None else f"within {seconds:g} s"
        raise APIServerError(
            f"The API server did not {what} {limit}; it may be overloaded or cut off."
        ) from error
    except client.ApiException as error:
        raise APIServerError(
            f"The API server refused to {what}: {_reason(error)}", int(error.status or 0)
        ) from error
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise APIServerError(f"The API server could not {what}: {error}") from error


def _reason(error: client.ApiException) -> str:
    try:
        content = json.loads(error.body or "")
        return str(content["message"])
    except (ValueError, TypeError, KeyError):
        return f"{error.status} {error.reason}"
