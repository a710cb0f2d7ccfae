"""Nodes, as far as we label them.

Labels are written by merge patches that name our keys alone. Such a patch never makes a node that
is gone, leaves other people's labels as they are, and removes a key also where someone else wrote
it last; server-side apply does neither the first nor the last.
"""

from kubeqpu.admission.nodelabels import find_ours
from kubeqpu.kube.errors import NOT_FOUND, APIServerError
from kubeqpu.kube.objects import ObjectsAPI
from kubeqpu.kube.resources import NODES, Manifest, name_of

FIELD_MANAGER = "kubeqpu-node-labels"
# A write that a leader began is over before another may lead.
WRITE_SECONDS = 2.0


async def list_labels(objects: ObjectsAPI) -> dict[str, dict[str, str]]:
    """Lists the labels of ours on all nodes that carry any, by the node's name.

    Raises:
        APIServerError: If the API server was not reached or refused.
    """
    found = {}
    # Keys of QPUs that are gone are unknown, and a selector needs keys: so all nodes are listed.
    async for page in objects.list_metadata(NODES):
        for node in page:
            if ours := find_ours(_labels_of(node)):
                found[name_of(node)] = ours
    return found


async def merge_labels(objects: ObjectsAPI, node: str, patch: dict[str, str | None]) -> bool:
    """Merges labels into a node; tells whether there is such a node.

    Raises:
        APIServerError: If the API server was not reached or refused.
    """
    try:
        await objects.merge(NODES, node, {"metadata": {"labels": {**patch}}}, WRITE_SECONDS)
    except APIServerError as error:
        if error.status == NOT_FOUND:
            return False
        raise
    return True


def _labels_of(node: Manifest) -> dict[str, str]:
    metadata = node.get("metadata")
    labels = metadata.get("labels") if isinstance(metadata, dict) else None
    if not isinstance(labels, dict):
        return {}
    return {key: value for key, value in labels.items() if isinstance(value, str)}
