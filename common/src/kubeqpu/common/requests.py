"""What pods ask of QPUs: read from a pod, or from a Job or JobSet that makes pods.

Reading never fails on a part of another form than Kubernetes has it: such a part asks for nothing.
Only what is ours, the annotations, is judged.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pydantic import JsonValue

from kubeqpu.common import names
from kubeqpu.common.placement import CircuitShape, parse_circuit_shape, parse_min_qubits

JSONObject = dict[str, JsonValue]

CONTAINER_LISTS = ("containers", "initContainers")
_CLASS_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?")


class MalformedWishError(ValueError):
    """An annotation that says what a pod wants makes no sense.

    Attributes:
        annotation: Its key.
    """

    def __init__(self, annotation: str, reason: str) -> None:
        super().__init__(f"annotation {annotation}: {reason}")
        self.annotation = annotation
        self.reason = reason


@dataclass(frozen=True, slots=True)
class PodTemplate:
    """A pod, or what pods are made from.

    Attributes:
        path: Where it is in its object, such as `spec.template`; empty for a pod itself.
        labels: Its labels.
        annotations: Its annotations.
        spec: The pod's spec.
    """

    path: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    spec: JSONObject


@dataclass(frozen=True, slots=True)
class PodRequest:
    """What one pod asks for.

    Attributes:
        resources: The extended resources of ours, sorted; each is a question of its own.
        class_name: Name of the class; empty for the default class, whichever that is then.
        min_qubits: Smallest acceptable width; the class may ask for more.
        shape: Shape of its circuits; None for the class's own.
        client: Whether it says that it needs a gateway though it may ask for no slot.
    """

    resources: tuple[str, ...] = ()
    class_name: str = ""
    min_qubits: int = 1
    shape: CircuitShape | None = None
    client: bool = False


def find_templates(manifest: JSONObject) -> tuple[PodTemplate, ...]:
    """Finds what pods an object is or makes: a pod itself, a Job's one, a JobSet's several."""
    match manifest.get("kind"):
        case "Pod":
            return (_template("", manifest),)
        case "Job":
            spec = object_at(manifest, "spec")
            return (_template("spec.template", object_at(spec, "template")),)
        case "JobSet":
            jobs = objects_at(object_at(manifest, "spec"), "replicatedJobs")
            return tuple(
                _template(
                    f"spec.replicatedJobs[{index}].template.spec.template",
                    object_at(object_at(object_at(job, "template"), "spec"), "template"),
                )
                for index, job in jobs
            )
        case _:
            return ()


def find_resources(spec: JSONObject) -> tuple[str, ...]:
    """Finds the resources of ours that a pod's containers ask for, sorted."""
    found = {
        name
        for _, _, container in find_containers(spec)
        for part in ("limits", "requests")
        for name in names.RESOURCES
        if _is_some(object_at(object_at(container, "resources"), part).get(name))
    }
    return tuple(sorted(found))


def find_containers(spec: JSONObject) -> Iterator[tuple[str, int, JSONObject]]:
    """Yields a pod's containers with the list they are in, and their place there."""
    for kind in CONTAINER_LISTS:
        for index, container in objects_at(spec, kind):
            yield kind, index, container


def read_request(template: PodTemplate) -> PodRequest:
    """Reads what a pod asks for.

    Raises:
        MalformedWishError: If an annotation makes no sense.
    """
    annotations = template.annotations
    return PodRequest(
        resources=find_resources(template.spec),
        class_name=read_class_name(annotations),
        min_qubits=read_min_qubits(annotations),
        shape=read_shape(annotations),
        client=template.labels.get(names.LABEL_CLIENT) == "true",
    )


def read_class_name(annotations: Mapping[str, str]) -> str:
    """Reads which class is wanted; empty for the default class.

    Raises:
        MalformedWishError: If no class can have that name.
    """
    key = names.ANNOTATION_CLASS
    name = annotations.get(key, "").strip()
    if name and not _CLASS_NAME.fullmatch(name):
        shown = repr(name if len(name) <= 63 else f"{name[:63]}…")
        raise MalformedWishError(
            key,
            f"{shown} is no name of a QPUClass; expected lower-case letters, digits, '-' and '.', "
            "at most 63, as `kubectl get qpuclasses` shows them",
        )
    return name


def read_min_qubits(annotations: Mapping[str, str]) -> int:
    """Reads the smallest acceptable width; 1 where none is given.

    Raises:
        MalformedWishError: If it is no number of qubits.
    """
    key = names.ANNOTATION_MIN_QUBITS
    try:
        return parse_min_qubits(annotations[key]) if key in annotations else 1
    except ValueError as error:
        raise MalformedWishError(key, str(error)) from error


def read_shape(annotations: Mapping[str, str]) -> CircuitShape | None:
    """Reads the circuits' shape; None where none is given.

    Raises:
        MalformedWishError: If it is none.
    """
    key = names.ANNOTATION_CIRCUIT_SHAPE
    try:
        return parse_circuit_shape(annotations[key]) if key in annotations else None
    except ValueError as error:
        raise MalformedWishError(key, str(error)) from error


def object_at(parent: JSONObject, key: str) -> JSONObject:
    """Gives the object at a key; an empty one where there is none."""
    found = parent.get(key)
    return found if isinstance(found, dict) else {}


def objects_at(parent: JSONObject, key: str) -> tuple[tuple[int, JSONObject], ...]:
    """Gives the objects in the list at a key, each with its place there."""
    found = parent.get(key)
    items = enumerate(found) if isinstance(found, list) else ()
    return tuple((index, item) for index, item in items if isinstance(item, dict))


def texts_at(parent: JSONObject, key: str) -> dict[str, str]:
    """Gives the texts by name at a key, such as labels."""
    return {name: text for name, text in object_at(parent, key).items() if isinstance(text, str)}


def _template(path: str, found: JSONObject) -> PodTemplate:
    metadata = object_at(found, "metadata")
    return PodTemplate(
        path=path,
        labels=texts_at(metadata, "labels"),
        annotations=texts_at(metadata, "annotations"),
        spec=object_at(found, "spec"),
    )


def _is_some(amount: JsonValue) -> bool:
    # A quantity is a text or a number; all ways to write none are zeros with a suffix.
    return amount is not None and any(digit in "123456789" for digit in str(amount))
