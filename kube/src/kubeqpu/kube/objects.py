"""Objects at the API server, as JSON: read, listed, watched and written."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

import aiohttp
from kubernetes.aio import client

from kubeqpu.kube.errors import NOT_FOUND, APIServerError
from kubeqpu.kube.resources import (
    EVERYTHING,
    Listing,
    Manifest,
    Resource,
    Selection,
    WatchEvent,
    name_of,
    version_of,
)

# The server ends a watch after this; then it is taken up where it was.
WATCH_SECONDS = 120
TIMEOUT_SECONDS = 10.0
_APPLY = "application/apply-patch+yaml"
_MERGE = "application/merge-patch+json"
_JSON = "application/json"
_METADATA = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
_METADATA_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
_PAGE_SIZE = "500"


class ObjectsAPI:
    """Speaks to the API server.

    Every kind has paths of the same form, so one class serves them all. The answers are read here:
    the library's own reading knows only some kinds, and takes many times as long.

    Every method raises `APIServerError` if the server does not answer in time, or refuses.

    Args:
        api_client: The connection.
        field_manager: Under which name fields are written.
    """

    def __init__(self, api_client: client.ApiClient, field_manager: str) -> None:
        self._client = api_client
        self._manager = field_manager

    async def read(
        self, kind: Resource, name: str, seconds: float = TIMEOUT_SECONDS
    ) -> Manifest | None:
        """Reads an object; None if there is none."""
        try:
            async with _translated(f"read {kind.plural}/{name}", seconds):
                return await _read(await self._send("GET", kind.path(name), {}))
        except APIServerError as error:
            if error.status == NOT_FOUND:
                return None
            raise

    async def apply(
        self, kind: Resource, manifest: Manifest, seconds: float = TIMEOUT_SECONDS
    ) -> Manifest:
        """Applies an object server-side; fields of others become ours where they differ."""
        return await self._apply(kind, manifest, "", seconds)

    async def apply_status(
        self, kind: Resource, manifest: Manifest, seconds: float = TIMEOUT_SECONDS
    ) -> Manifest:
        """Applies the status of an object that exists; see `apply`."""
        return await self._apply(kind, manifest, "status", seconds)

    async def create(
        self, kind: Resource, manifest: Manifest, seconds: float = TIMEOUT_SECONDS
    ) -> Manifest:
        """Creates an object; status 409 if there is one of its name."""
        query = {"fieldManager": self._manager}
        async with _translated(f"create {kind.plural}/{name_of(manifest)}", seconds):
            return await _read(await self._send("POST", kind.path(), query, manifest, _JSON))

    async def merge(
        self,
        kind: Resource,
        name: str,
        patch: Manifest,
        seconds: float = TIMEOUT_SECONDS,
        part: str = "",
    ) -> Manifest:
        """Merges fields into an object that exists, or into a part of it such as its `status`.

        Status 409 if `metadata.resourceVersion` or `metadata.uid` of the patch is not the object's.
        """
        query = {"fieldManager": self._manager}
        path = kind.path(name, part)
        async with _translated(f"change {kind.plural}/{name}", seconds):
            return await _read(await self._send("PATCH", path, query, patch, _MERGE))

    async def list(
        self,
        kind: Resource,
        selection: Selection = EVERYTHING,
        seconds: float = TIMEOUT_SECONDS,
    ) -> Listing:
        """Lists objects, page by page.

        Args:
            kind: Their kind.
            selection: Which of them.
            seconds: How long each page may take.
        """
        items: list[Manifest] = []
        version = ""
        async for page in self._pages(kind, {**selection.query, "limit": _PAGE_SIZE}, seconds):
            items += filter(selection.wanted, _items(page))
            version = version_of(page)
        return Listing(tuple(items), version)

    async def list_metadata(
        self, kind: Resource, page_size: int = int(_PAGE_SIZE), seconds: float = TIMEOUT_SECONDS
    ) -> AsyncGenerator[tuple[Manifest, ...], None]:
        """Yields the metadata of all objects, page by page, for kinds of many or large ones.

        Args:
            kind: Which objects.
            page_size: How many at once, at most.
            seconds: How long each page may take.
        """
        async for page in self._pages(kind.reduced(), {"limit": str(page_size)}, seconds):
            yield _items(page)

    async def _pages(
        self, kind: Resource, query: Mapping[str, str], seconds: float
    ) -> AsyncGenerator[Manifest, None]:
        accept = _METADATA_LIST if kind.metadata_only else _JSON
        following = ""
        while True:
            asked = {**query, "continue": following} if following else query
            async with _translated(f"list {kind.plural}", seconds):
                page = await _read(await self._send("GET", kind.path(), asked, accept=accept))
            yield page
            metadata = page.get("metadata")
            found = metadata.get("continue") if isinstance(metadata, dict) else None
            if not isinstance(found, str) or not found:
                return
            following = found

    async def watch(
        self,
        kind: Resource,
        resource_version: str,
        selection: Selection = EVERYTHING,
        on_open: Callable[[], None] = lambda: None,
        silence_seconds: float | None = None,
    ) -> AsyncGenerator[WatchEvent, None]:
        """Yields changes after a version until the server ends the watch.

        Args:
            kind: What to watch.
            resource_version: After which version.
            selection: Which of them.
            on_open: Called when the server agrees, which may be long before the first change.
            silence_seconds: How long the server may say nothing; a bookmark comes every minute.

        The library's own watch is not used: it starts again at once and for ever whatever the
        server says, and opens a second connection with default settings.

        Raises:
            APIServerError: If the server refuses, falls silent or breaks off; status 410 where the
                version is too old, so that a new list is needed.
        """
        query = {
            **selection.query,
            "resourceVersion": resource_version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(WATCH_SECONDS),
            "watch": "true",
        }
        # The client's own time limit holds: the caller's code between two events is not in it.
        async with _translated(f"watch {kind.plural}", None):
            response = await self._send(
                "GET",
                kind.path(),
                query,
                limit=WATCH_SECONDS + 15.0,
                accept=_METADATA if kind.metadata_only else _JSON,
            )
            try:
                await _check(response)
                on_open()
                while line := await _read_line(response, silence_seconds):
                    yield _event(line)
            finally:
                response.close()

    async def _apply(
        self, kind: Resource, manifest: Manifest, subresource: str, seconds: float
    ) -> Manifest:
        name = name_of(manifest)
        path = kind.path(name, subresource)
        query = {"fieldManager": self._manager, "force": "true"}
        what = f"{kind.plural}/{name}" + (f"/{subresource}" if subresource else "")
        async with _translated(f"apply {what}", seconds):
            return await _read(await self._send("PATCH", path, query, manifest, _APPLY))

    async def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        body: Manifest | None = None,
        content_type: str = "",
        *,
        limit: float | None = None,
        accept: str = _JSON,
    ) -> aiohttp.ClientResponse:
        headers = {"Accept": accept} | ({"Content-Type": content_type} if content_type else {})
        request = await self._client.param_serialize(
            method=method,
            resource_path=path,
            query_params=list(query.items()),
            header_params=headers,
            body=body,
            auth_settings=["BearerToken"],
        )
        answer = await self._client.call_api(*request, _request_timeout=limit)
        response: aiohttp.ClientResponse = answer.response
        return response


def _items(page: Manifest) -> tuple[Manifest, ...]:
    items = page.get("items")
    return tuple(map(_manifest, items)) if isinstance(items, list) else ()


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


async def _read_line(response: aiohttp.ClientResponse, silence_seconds: float | None) -> bytes:
    async with asyncio.timeout(silence_seconds):
        return await response.content.readline()


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
