"""The API server, as far as the controller reads and writes it."""

from collections.abc import Iterator, Set
from contextlib import contextmanager

import aiohttp
from kubernetes.aio import client
from pydantic import BaseModel, JsonValue, TypeAdapter, ValidationError

from kubeqpu.admission.errors import (
    ClusterError,
    ConflictError,
    NotFoundError,
)
from kubeqpu.admission.leases import Lease, parse_lease
from kubeqpu.common import api

FIELD_MANAGER = "kubeqpu-controller"
_TIMEOUT_SECONDS = 5.0
_COORDINATION = ("coordination.k8s.io", "v1")
_EVENTS = ("events.k8s.io", "v1")
# Where Events about objects without a namespace live.
_EVENTS_NAMESPACE = "default"
_JSON: TypeAdapter[dict[str, JsonValue]] = TypeAdapter(dict[str, JsonValue])


class _Refusal(BaseModel):
    message: str = ""


class _Item(BaseModel):
    metadata: api.ObjectMeta


class _ClassList(BaseModel):
    items: list[_Item]


class Cluster:
    """Requests to the API server; each ends within seconds.

    All raise `ClusterError` if the API server is not reached or refuses, `NotFoundError` for what
    does not exist and `ConflictError` for what changed meanwhile.

    Args:
        api_client: The connection.
        namespace: Where the Leases are.
    """

    def __init__(self, api_client: client.ApiClient, namespace: str) -> None:
        self._objects = client.CustomObjectsApi(api_client)
        self._namespace = namespace

    async def find_kinds(self) -> Set[str]:
        """Finds the plurals of our kinds that the API server serves; none before their CRDs."""
        try:
            with _translated("kinds"):
                found = await self._objects.get_api_resources(
                    api.GROUP, api.VERSION, _request_timeout=_TIMEOUT_SECONDS
                )
        except NotFoundError:
            return frozenset()
        return {str(resource.name) for resource in found.resources}

    async def read_qpu(self, name: str) -> api.QPU:
        """Reads a QPU."""
        with _translated(f"QPU {name}"):
            found = await self._objects.get_cluster_custom_object(
                api.GROUP,
                api.VERSION,
                api.QPU.resource.plural,
                name,
                _request_timeout=_TIMEOUT_SECONDS,
            )
            return api.QPU.from_manifest(_JSON.validate_python(found))

    async def apply_status(self, qpu: str, manifest: dict[str, JsonValue]) -> None:
        """Applies fields of a QPU's status, and takes them over from whoever has them."""
        with _translated(f"status of QPU {qpu}"):
            await self._objects.patch_cluster_custom_object_status(
                api.GROUP,
                api.VERSION,
                api.QPU.resource.plural,
                qpu,
                manifest,
                field_manager=FIELD_MANAGER,
                force=True,
                _content_type="application/apply-patch+yaml",
                _request_timeout=_TIMEOUT_SECONDS,
            )

    async def list_classes(self) -> list[api.ObjectMeta]:
        """Lists the metadata of all QPUClasses."""
        with _translated("QPUClasses"):
            found = await self._objects.list_cluster_custom_object(
                api.GROUP,
                api.VERSION,
                api.QPUClass.resource.plural,
                _request_timeout=_TIMEOUT_SECONDS,
            )
            return [item.metadata for item in _ClassList.model_validate(found).items]

    async def create_class(self, made: api.QPUClass) -> None:
        """Creates a QPUClass."""
        with _translated(f"QPUClass {made.metadata.name}"):
            await self._objects.create_cluster_custom_object(
                api.GROUP,
                api.VERSION,
                api.QPUClass.resource.plural,
                made.to_manifest(),
                field_manager=FIELD_MANAGER,
                _request_timeout=_TIMEOUT_SECONDS,
            )

    async def read_lease(self, name: str) -> Lease:
        """Reads a Lease."""
        with _translated(f"Lease {self._namespace}/{name}"):
            found = await self._objects.get_namespaced_custom_object(
                *_COORDINATION, self._namespace, "leases", name, _request_timeout=_TIMEOUT_SECONDS
            )
            return parse_lease(_JSON.validate_python(found))

    async def patch_lease(self, name: str, patch: dict[str, JsonValue]) -> Lease:
        """Merges fields into a Lease that exists."""
        with _translated(f"Lease {self._namespace}/{name}"):
            found = await self._objects.patch_namespaced_custom_object(
                *_COORDINATION,
                self._namespace,
                "leases",
                name,
                patch,
                field_manager=FIELD_MANAGER,
                _content_type="application/merge-patch+json",
                _request_timeout=_TIMEOUT_SECONDS,
            )
            return parse_lease(_JSON.validate_python(found))

    async def create_event(self, event: dict[str, JsonValue]) -> None:
        """Records an Event about an object without a namespace."""
        with _translated("Event"):
            await self._objects.create_namespaced_custom_object(
                *_EVENTS, _EVENTS_NAMESPACE, "events", event, _request_timeout=_TIMEOUT_SECONDS
            )


@contextmanager
def _translated(what: str) -> Iterator[None]:
    """Turns what the client raises into errors of ours."""
    try:
        yield
    except client.ApiException as error:
        kinds = {404: NotFoundError, 409: ConflictError}
        kind = kinds.get(error.status, ClusterError)
        said = _message(error.body) or error.reason
        raise kind(f"{what}: the API server answered {error.status}: {said}") from error
    except TimeoutError as error:
        raise ClusterError(f"{what}: no answer within {_TIMEOUT_SECONDS:g} s") from error
    except (aiohttp.ClientError, OSError) as error:
        raise ClusterError(f"{what}: API server not reached ({error})") from error
    except (ValidationError, ValueError, KeyError) as error:
        raise ClusterError(f"{what}: cannot read the API server's answer ({error})") from error


def _message(body: object) -> str:
    """Finds what the API server says in words about a request that it refuses."""
    try:
        return _Refusal.model_validate_json(str(body)).message
    except ValidationError:
        return ""
