"""Kueue's ClusterQueues, ResourceFlavors and Cohorts, as far as the pool reads and writes them."""

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from kubeqpu.admission.pool.groups import Group
from kubeqpu.admission.pool.slots import Flavor, Pair, is_ours
from kubeqpu.common import names
from kubeqpu.common.quantities import parse_quantity
from kubeqpu.common.requests import object_at, objects_at, texts_at
from kubeqpu.kube.resources import (
    KUEUE_GROUP,
    KUEUE_VERSION,
    Manifest,
    name_of,
    uid_of,
    version_of,
)

COHORT = "kubeqpu"
API_VERSION = f"{KUEUE_GROUP}/{KUEUE_VERSION}"
KIND = "Cohort"


@dataclass(frozen=True)
class Owner:
    """The ClusterRole with which the Cohort is collected.

    Attributes:
        name: Its name.
        uid: Its uid.
    """

    name: str
    uid: str


@dataclass(frozen=True)
class Cohort:
    """The Cohort as it was read.

    Attributes:
        uid: Its uid.
        version: Its resource version.
        is_ours: Whether its quotas are ours to write, by its label.
        groups: Its resource groups; None if they say what we would never write.
    """

    uid: str
    version: str
    is_ours: bool
    groups: tuple[Group, ...] | None


def read_pairs(cluster_queue: Manifest) -> frozenset[Pair]:
    """Reads for which of our resources a ClusterQueue names which flavors."""
    return frozenset(
        Pair(str(resource.get("name", "")), str(flavor.get("name", "")))
        for _, group in objects_at(object_at(cluster_queue, "spec"), "resourceGroups")
        for _, flavor in objects_at(group, "flavors")
        for _, resource in objects_at(flavor, "resources")
        if is_ours(str(resource.get("name", "")))
    )


def read_flavor(resource_flavor: Manifest) -> Flavor:
    """Reads a ResourceFlavor."""
    labels = texts_at(object_at(resource_flavor, "spec"), "nodeLabels")
    return Flavor(name_of(resource_flavor), labels)


def read_cohort(cohort: Manifest) -> Cohort:
    """Reads a Cohort."""
    labels = texts_at(object_at(cohort, "metadata"), "labels")
    found = objects_at(object_at(cohort, "spec"), "resourceGroups")
    try:
        groups = tuple(_read_group(group) for _, group in found)
    except ValueError:
        groups = None
    ours = labels.get(names.LABEL_MANAGED) == "true"
    return Cohort(uid_of(cohort), version_of(cohort), ours, groups)


def _read_group(group: Manifest) -> Group:
    covered = group.get("coveredResources")
    resources = tuple(map(str, covered)) if isinstance(covered, list) else ()
    flavors = tuple(
        (str(flavor.get("name")), _read_amounts(flavor, resources))
        for _, flavor in objects_at(group, "flavors")
    )
    return Group(resources, flavors)


def _read_amounts(flavor: Manifest, resources: tuple[str, ...]) -> tuple[int, ...]:
    found = [one for _, one in objects_at(flavor, "resources")]
    if tuple(one.get("name") for one in found) != resources:
        raise ValueError("resources differ from those of the group")
    if any(one.keys() - {"name", "nominalQuota"} for one in found):
        raise ValueError("there are limits")
    return tuple(int(parse_quantity(str(one.get("nominalQuota")))) for one in found)


def write_new(groups: Sequence[Group], owner: Owner | None) -> Manifest:
    """Writes the Cohort for creation.

    Args:
        groups: Its quotas.
        owner: What it is collected with; None if it stays until someone deletes it.
    """
    metadata: Manifest = {"name": COHORT, "labels": {names.LABEL_MANAGED: "true"}}
    if owner is not None:
        reference: Manifest = {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "name": owner.name,
            "uid": owner.uid,
        }
        metadata["ownerReferences"] = [reference]
    return _write(metadata, groups)


def write_groups(cohort: Cohort, groups: Sequence[Group]) -> Manifest:
    """Writes the quotas for server-side apply to the very Cohort that was read.

    Whatever else it says, such as its parent or its weight, is the admin's.
    """
    return _write({"name": COHORT, "uid": cohort.uid}, groups)


def _write(metadata: Manifest, groups: Sequence[Group]) -> Manifest:
    written: list[JsonValue] = [_write_group(group) for group in groups]
    spec: Manifest = {"resourceGroups": written}
    return {"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata, "spec": spec}


def _write_group(group: Group) -> Manifest:
    flavors: list[JsonValue] = [
        {
            "name": flavor,
            "resources": [
                {"name": resource, "nominalQuota": str(amount)}
                for resource, amount in zip(group.resources, amounts, strict=True)
            ],
        }
        for flavor, amounts in group.flavors
    ]
    return {"coveredResources": list(group.resources), "flavors": flavors}
