"""The API server, as far as the controller reads and writes it."""

from collections.abc import Iterator, Set
from contextlib import contextmanager

from kubernetes.aio import client
from pydantic import BaseModel, JsonValue, ValidationError

from kubeqpu.admission.errors import ClusterError, ConflictError, NotFoundError
from kubeqpu.admission.leases import Lease, parse_lease
from kubeqpu.common import api
from kubeqpu.kube.errors import CONFLICT, NOT_FOUND, APIServerError
from kubeqpu.kube.objects import ObjectsAPI
from kubeqpu.kube.resources import EVENTS, LEASES, QPU_CLASSES, QPUS, Manifest, Resource

FIELD_MANAGER = "kubeqpu-controller"
_TIMEOUT_SECONDS = 5.0
# What the API server serves of our group.
_KINDS = Resource(api.GROUP, api.VERSION, "")
# Where Events about objects without a namespace live.
_EVENTS = EVENTS.within("default")


class _Named(BaseModel):
    name: str


class _Kinds(BaseModel):
    resources: list[_Named]


class _Item(BaseModel):
    metadata: api.ObjectMeta


class Cluster:
    """Requests to the API server; each ends within seconds.

    All raise `ClusterError` if the API server is not reached or refuses, `NotFoundError` for what
    does not exist and `ConflictError` for what changed meanwhile.

    Args:
        api_client: The connection.
        namespace: Where the Leases are.
    """

    def __init__(self, api_client: client.ApiClient, namespace: str) -> None:
        self._objects = ObjectsAPI(api_client, FIELD_MANAGER)
        self._namespace = namespace
        self._leases = LEASES.within(namespace)

    async def find_kinds(self) -> Set[str]:
        """Finds the plurals of our kinds that the API server serves; none before their CRDs."""
        with _translated("kinds"):
            found = await self._objects.read(_KINDS, "", _TIMEOUT_SECONDS)
            if found is None:
                return frozenset()
            return {kind.name for kind in _Kinds.model_validate(found).resources}

    async def read_qpu(self, name: str) -> api.QPU:
        """Reads a QPU."""
        found = await self._read(QPUS, name, f"QPU {name}")
        with _translated(f"QPU {name}"):
            return api.QPU.from_manifest(found)

    async def apply_status(self, qpu: str, manifest: dict[str, JsonValue]) -> None:
        """Applies fields of a QPU's status, and takes them over from whoever has them."""
        with _translated(f"status of QPU {qpu}"):
            await self._objects.apply_status(QPUS, manifest, _TIMEOUT_SECONDS)

    async def list_classes(self) -> list[api.ObjectMeta]:
        """Lists the metadata of all QPUClasses."""
        with _translated("QPUClasses"):
            found = await self._objects.list(QPU_CLASSES, seconds=_TIMEOUT_SECONDS)
            return [_Item.model_validate(item).metadata for item in found.items]

    async def create_class(self, made: api.QPUClass) -> None:
        """Creates a QPUClass."""
        with _translated(f"QPUClass {made.metadata.name}"):
            await self._objects.create(QPU_CLASSES, made.to_manifest(), _TIMEOUT_SECONDS)

    async def read_lease(self, name: str) -> Lease:
        """Reads a Lease."""
        what = f"Lease {self._namespace}/{name}"
        found = await self._read(self._leases, name, what)
        with _translated(what):
            return parse_lease(found)

    async def patch_lease(self, name: str, patch: dict[str, JsonValue]) -> Lease:
        """Merges fields into a Lease that exists."""
        with _translated(f"Lease {self._namespace}/{name}"):
            return parse_lease(
                await self._objects.merge(self._leases, name, patch, _TIMEOUT_SECONDS)
            )

    async def create_event(self, event: dict[str, JsonValue]) -> None:
        """Records an Event about an object without a namespace."""
        with _translated("Event"):
            await self._objects.create(_EVENTS, event, _TIMEOUT_SECONDS)

    async def _read(self, kind: Resource, name: str, what: str) -> Manifest:
        with _translated(what):
            found = await self._objects.read(kind, name, _TIMEOUT_SECONDS)
        if found is None:
            raise NotFoundError(f"{what} does not exist")
        return found


@contextmanager
def _translated(what: str) -> Iterator[None]:
    """Tells errors of the API server by what the controller does about them."""
    try:
        yield
    except APIServerError as error:
        kinds = {NOT_FOUND: NotFoundError, CONFLICT: ConflictError}
        raise kinds.get(error.status, ClusterError)(f"{what}: {error}") from error
    except (ValidationError, ValueError) as error:
        raise ClusterError(f"{what}: cannot read the API server's answer ({error})") from error
