"""The QPU classes: those of the cluster, and those of the configuration that it lacks."""

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog
from kubernetes.aio import client

from kubeqpu.common import api, names
from kubeqpu.common.placement import PlacementClass
from kubeqpu.kube.objects import ObjectsAPI
from kubeqpu.kube.resources import QPU_CLASSES, Manifest, name_of
from kubeqpu.kube.watches import ObjectWatch
from kubeqpu.qpu_gateway.cluster.manifests import FIELD_MANAGER
from kubeqpu.qpu_gateway.settings import DEFAULT_CLASS

_LOG = structlog.get_logger(__name__)


@dataclass(frozen=True)
class SeenClass:
    """A class of the cluster.

    Attributes:
        plain: As placement wants it.
        default: Whether work that names no class gets this one.
        created_at: When it was made.
    """

    plain: PlacementClass
    default: bool
    created_at: datetime


def read_class(manifest: Manifest) -> SeenClass:
    """Reads a QPUClass object.

    Raises:
        ValueError: If it is none, or of a form that this version does not know.
    """
    found = api.QPUClass.from_manifest(manifest)
    metadata = found.metadata
    return SeenClass(
        plain=api.placement_class(found),
        default=metadata.annotations.get(names.ANNOTATION_DEFAULT_CLASS) == "true",
        created_at=metadata.creation_timestamp or datetime.fromtimestamp(0, UTC),
    )


def choose_default(classes: Mapping[str, SeenClass]) -> str:
    """Chooses the default class: of several the newest, as for StorageClasses."""
    marked = [(seen.created_at, name) for name, seen in classes.items() if seen.default]
    return max(marked)[1] if marked else DEFAULT_CLASS


class ClassWatch(Mapping[str, PlacementClass]):
    """All classes by name, as they are now; before the first answer, those of the configuration.

    Args:
        api_client: The connection to the API server.
        configured: Classes of the configuration, which the cluster's outrank.
    """

    def __init__(
        self, api_client: client.ApiClient, configured: Mapping[str, PlacementClass]
    ) -> None:
        self._configured = {DEFAULT_CLASS: PlacementClass(DEFAULT_CLASS), **configured}
        self._seen: dict[str, SeenClass] = {}
        self._all: Mapping[str, PlacementClass] = self._configured
        self._watch = ObjectWatch(
            ObjectsAPI(api_client, FIELD_MANAGER),
            QPU_CLASSES,
            self._take_all,
            self._take,
            self._drop,
        )
        self._task: asyncio.Task[None] | None = None
        self.default_name = DEFAULT_CLASS

    def __getitem__(self, name: str) -> PlacementClass:
        return self._all[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)

    async def start(self) -> None:
        """Watches in the background."""
        self._task = asyncio.create_task(self._watch.run())

    async def stop(self) -> None:
        """Stops watching; the classes stay as they are."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def _take_all(self, manifests: tuple[Manifest, ...]) -> None:
        there = {name_of(manifest) for manifest in manifests}
        for name in set(self._seen) - there:
            self._forget(name)
        for manifest in manifests:
            self._take(manifest)

    def _take(self, manifest: Manifest) -> None:
        name = name_of(manifest)
        try:
            seen = read_class(manifest)
        except ValueError as error:
            kept = "as it was" if name in self._seen else "not used"
            _LOG.warning("Class not understood", qpu_class=name, kept=kept, reason=str(error))
            return
        if self._seen.get(name) != seen:
            self._seen[name] = seen
            _LOG.info("Class changed", qpu_class=name)
            self._merge()

    def _drop(self, manifest: Manifest) -> None:
        self._forget(name_of(manifest))

    def _forget(self, name: str) -> None:
        if self._seen.pop(name, None) is not None:
            _LOG.info("Class deleted", qpu_class=name)
            self._merge()

    def _merge(self) -> None:
        self._all = {
            **self._configured,
            **{name: seen.plain for name, seen in self._seen.items()},
        }
        default = choose_default(self._seen)
        if default != self.default_name:
            self.default_name = default
            _LOG.info("Default class changed", qpu_class=default)
