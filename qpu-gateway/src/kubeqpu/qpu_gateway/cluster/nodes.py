"""The cluster's nodes, as far as slots care: their labels, and whether they are down."""

import asyncio
from collections.abc import Callable, Mapping

import structlog
from kubernetes.aio import client
from pydantic import JsonValue

from kubeqpu.kube.objects import ObjectsAPI
from kubeqpu.kube.resources import NODES, Manifest, name_of
from kubeqpu.kube.watches import ObjectWatch
from kubeqpu.qpu_gateway.cluster.manifests import FIELD_MANAGER
from kubeqpu.qpu_gateway.slots.slot import NodeFacts

_LOG = structlog.get_logger(__name__)

_OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"


def read_node(manifest: Manifest) -> NodeFacts:
    """Reads a Node object; what is not understood of it is left out."""
    metadata, spec = manifest.get("metadata"), manifest.get("spec")
    labels = metadata.get("labels") if isinstance(metadata, dict) else None
    taints = spec.get("taints") if isinstance(spec, dict) else None
    return NodeFacts(
        labels=_read_labels(labels),
        out_of_service=isinstance(taints, list)
        and any(isinstance(item, dict) and item.get("key") == _OUT_OF_SERVICE for item in taints),
    )


def _read_labels(found: JsonValue) -> dict[str, str]:
    if not isinstance(found, dict):
        return {}
    return {key: value for key, value in found.items() if isinstance(value, str)}


class NodeWatch:
    """Tells of all nodes whenever one comes, goes, or changes in a way that matters.

    Until the first answer it tells nothing.

    Args:
        api_client: The connection to the API server.
        on_change: Called with all nodes by name.
    """

    def __init__(
        self,
        api_client: client.ApiClient,
        on_change: Callable[[Mapping[str, NodeFacts]], None],
    ) -> None:
        self._on_change = on_change
        self._seen: dict[str, NodeFacts] = {}
        self._watch = ObjectWatch(
            ObjectsAPI(api_client, FIELD_MANAGER), NODES, self._take_all, self._take, self._drop
        )
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Watches in the background."""
        self._task = asyncio.create_task(self._watch.run())

    async def stop(self) -> None:
        """Stops watching."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def _take_all(self, manifests: tuple[Manifest, ...]) -> None:
        self._seen = {name_of(manifest): read_node(manifest) for manifest in manifests}
        self._on_change(dict(self._seen))

    def _take(self, manifest: Manifest) -> None:
        name, facts = name_of(manifest), read_node(manifest)
        # Kubelets report much else of their nodes, and often.
        if self._seen.get(name) != facts:
            self._seen[name] = facts
            self._on_change(dict(self._seen))

    def _drop(self, manifest: Manifest) -> None:
        if self._seen.pop(name_of(manifest), None) is not None:
            _LOG.info("Node deleted", node=name_of(manifest))
            self._on_change(dict(self._seen))
