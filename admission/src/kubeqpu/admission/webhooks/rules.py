"""What is wrong with what a pod asks for, whatever the cluster has.

Only what can never be served is: a class that does not exist may exist later.
"""

from collections.abc import Iterator
from fractions import Fraction

from pydantic import JsonValue

from kubeqpu.admission.outlooks import Outlook
from kubeqpu.common import names
from kubeqpu.common.placement import SimulatorPolicy
from kubeqpu.common.quantities import parse_quantity
from kubeqpu.common.requests import (
    JSONObject,
    MalformedWishError,
    PodRequest,
    PodTemplate,
    find_containers,
    find_resources,
    object_at,
    read_class_name,
    read_min_qubits,
    read_shape,
    texts_at,
)

_SIMULATORS = frozenset({names.RESOURCE_CPU_SIMULATOR, names.RESOURCE_GPU_SIMULATOR})
_PREFIX = f"{names.DOMAIN}/"


def find_faults(template: PodTemplate) -> tuple[str, ...]:
    """Finds what is malformed or contradicts itself, each as field, value and what to do."""
    prefix = f"{template.path}." if template.path else ""
    return (
        *(f"{prefix}{fault}" for fault in _check_annotations(template)),
        *(f"{prefix}spec.{fault}" for fault in _check_containers(template.spec)),
        *(f"{prefix}spec.{fault}" for fault in _check_node_selector(template.spec)),
    )


def find_contradiction(request: PodRequest, outlook: Outlook) -> str:
    """Tells why a class can never serve a request; empty if it can."""
    asked = [resource for resource in request.resources if resource in _SIMULATORS]
    if not asked or outlook.simulators is not SimulatorPolicy.FORBID:
        return ""
    return (
        f"resource {asked[0]} is offered by simulators, which QPUClass {outlook.class_name} "
        f"forbids; ask for {names.RESOURCE_QPU}, or name another class in annotation "
        f"{names.ANNOTATION_CLASS}"
    )


def _check_annotations(template: PodTemplate) -> Iterator[str]:
    for read in (read_class_name, read_min_qubits, read_shape):
        try:
            read(template.annotations)
        except MalformedWishError as error:
            yield f"metadata.annotations[{error.annotation}]: {error.reason}"


def _check_containers(spec: JSONObject) -> Iterator[str]:
    for kind, index, container in find_containers(spec):
        resources = object_at(container, "resources")
        limits, requests = object_at(resources, "limits"), object_at(resources, "requests")
        where = f"{kind}[{index}].resources"
        for name in sorted(limits.keys() | requests.keys()):
            if name.startswith(_PREFIX):
                yield from _check_resource(where, name, limits.get(name), requests.get(name))
        asked = find_resources({"containers": [container]})
        if len(asked) > 1:
            yield (
                f"{where} asks for {' and '.join(asked)}; a container is told of one kind of slot "
                "only: give each a container of its own"
            )


def _check_resource(where: str, name: str, limit: JsonValue, request: JsonValue) -> Iterator[str]:
    if name not in names.RESOURCES:
        yield f"{where} asks for {name}; expected one of {', '.join(names.RESOURCES)}"
        return
    amounts: list[Fraction] = []
    for part, amount in (("limits", limit), ("requests", request)):
        if amount is None:
            continue
        try:
            value = parse_quantity(str(amount))
        except ValueError as error:
            yield f"{where}.{part}[{name}]: {error}"
            return
        if value.denominator != 1 or value < 0:
            yield (
                f"{where}.{part}[{name}] is {amount}; slots are whole: expected a number such as 1"
            )
            return
        amounts.append(value)
    if limit is None:
        yield f"{where}.requests[{name}] is {request} without a limit; set limits[{name}] instead"
    elif len(set(amounts)) > 1:
        yield (
            f"{where}.requests[{name}] is {request} and limits[{name}] is {limit}; slots are not "
            "shared: set both to the same, or the limit alone"
        )


def _check_node_selector(spec: JSONObject) -> Iterator[str]:
    selector = texts_at(spec, "nodeSelector")
    for resource in find_resources(spec):
        label = names.node_label_of_resource(resource)
        if selector.get(label, "true") != "true":
            yield (
                f"nodeSelector[{label}] is {selector[label]!r}, but only nodes where it is 'true' "
                f"have {resource}; remove it"
            )
