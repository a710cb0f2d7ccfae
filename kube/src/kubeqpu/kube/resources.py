"""Where objects are at the API server, and what all of them say of themselves."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from urllib.parse import quote

from pydantic import JsonValue

from kubeqpu.common import api

Manifest = dict[str, JsonValue]


@dataclass(frozen=True)
class Resource:
    """Where objects of a kind are.

    Attributes:
        group: API group; empty for the core group.
        version: Version of the group.
        plural: Name of the kind in paths.
        namespace: Their namespace; None for a kind without, or for all namespaces.
        metadata_only: Whether lists and watches tell their metadata alone.
    """

    group: str
    version: str
    plural: str
    namespace: str | None = None
    metadata_only: bool = False

    def within(self, namespace: str) -> "Resource":
        """Gives the place of the same kind in one namespace."""
        return replace(self, namespace=namespace)

    def reduced(self) -> "Resource":
        """Gives the same kind, of whose objects lists and watches tell the metadata alone."""
        return replace(self, metadata_only=True)

    def path(self, name: str = "", subresource: str = "") -> str:
        """Gives the path of the kind, of one object, or of a part of it."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        place = [] if self.namespace is None else ["namespaces", self.namespace]
        parts = [*place, self.plural, name, subresource]
        return "/".join([root, *(quote(part, safe="") for part in parts if part)])


QPUS = Resource(api.GROUP, api.VERSION, api.QPU.resource.plural)
QPU_CLASSES = Resource(api.GROUP, api.VERSION, api.QPUClass.resource.plural)
QPU_QUOTAS = Resource(api.GROUP, api.VERSION, api.QPUQuota.resource.plural)
NODES = Resource("", "v1", "nodes")
PODS = Resource("", "v1", "pods")
EVENTS = Resource("events.k8s.io", "v1", "events")
LEASES = Resource("coordination.k8s.io", "v1", "leases")
JOBS = Resource("batch", "v1", "jobs")
JOB_SETS = Resource("jobset.x-k8s.io", "v1alpha2", "jobsets")
CLUSTER_ROLES = Resource("rbac.authorization.k8s.io", "v1", "clusterroles")

# Kueue's, which may not be installed.
KUEUE_GROUP, KUEUE_VERSION = "kueue.x-k8s.io", "v1beta2"
WORKLOADS = Resource(KUEUE_GROUP, KUEUE_VERSION, "workloads")
ADMISSION_CHECKS = Resource(KUEUE_GROUP, KUEUE_VERSION, "admissionchecks")
CLUSTER_QUEUES = Resource(KUEUE_GROUP, KUEUE_VERSION, "clusterqueues")
COHORTS = Resource(KUEUE_GROUP, KUEUE_VERSION, "cohorts")
RESOURCE_FLAVORS = Resource(KUEUE_GROUP, KUEUE_VERSION, "resourceflavors")


@dataclass(frozen=True)
class Selection:
    """Which objects of a kind are meant.

    Attributes:
        labels: Selector of their labels; empty for any.
        fields: Selector of their fields; empty for any.
        wanted: Which of those that a list finds it keeps; the others never fill the memory.
    """

    labels: str = ""
    fields: str = ""
    wanted: Callable[[Manifest], bool] = lambda manifest: True

    @property
    def query(self) -> dict[str, str]:
        """The selectors as a request's parameters."""
        selectors = {"labelSelector": self.labels, "fieldSelector": self.fields}
        return {key: selector for key, selector in selectors.items() if selector}


EVERYTHING = Selection()


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


def name_of(manifest: Mapping[str, JsonValue]) -> str:
    """Gives an object's name."""
    return _metadata(manifest, "name")


def namespace_of(manifest: Mapping[str, JsonValue]) -> str:
    """Gives an object's namespace; empty for a kind without."""
    return _metadata(manifest, "namespace")


def version_of(manifest: Mapping[str, JsonValue]) -> str:
    """Gives an object's resource version, or a list's."""
    return _metadata(manifest, "resourceVersion")


def is_newer(version: str, known: str) -> bool:
    """Tells whether a resource version of an object comes after another; no if that is unclear."""
    return version.isdecimal() and known.isdecimal() and int(version) > int(known)


def uid_of(manifest: Mapping[str, JsonValue]) -> str:
    """Gives an object's uid."""
    return _metadata(manifest, "uid")


def _metadata(manifest: Mapping[str, JsonValue], key: str) -> str:
    metadata = manifest.get("metadata")
    value = metadata.get(key) if isinstance(metadata, dict) else None
    return value if isinstance(value, str) else ""
