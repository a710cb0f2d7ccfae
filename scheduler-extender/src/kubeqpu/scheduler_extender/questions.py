"""What a pod asks of QPUs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kubeqpu.common.names import (
    ANNOTATION_CIRCUIT_SHAPE,
    ANNOTATION_CLASS,
    ANNOTATION_MIN_QUBITS,
)
from kubeqpu.common.placement import CircuitShape, parse_circuit_shape, parse_min_qubits

_MAX_CLASS_LENGTH = 253


@dataclass(frozen=True, slots=True)
class Demand:
    """What decides whether a QPU may be used.

    Attributes:
        resource: Extended resource that offers its slots.
        class_name: Name of the class; empty for the default class, whichever that is then.
        min_qubits: Smallest acceptable width; the class may ask for more.
    """

    resource: str
    class_name: str = ""
    min_qubits: int = 1


@dataclass(frozen=True, slots=True)
class Question:
    """What decides how well a QPU would do.

    Attributes:
        demand: What it must satisfy.
        shape: Shape of the circuits; None for the class's own.
    """

    demand: Demand
    shape: CircuitShape | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """A pod's questions.

    Attributes:
        questions: One for each resource of ours that it asks for, in the resources' order.
        refusal: Why the pod cannot be placed anywhere as it is written; empty if it can.
    """

    questions: tuple[Question, ...] = ()
    refusal: str = ""


def read_questions(resources: Sequence[str], annotations: Mapping[str, str]) -> Asked:
    """Reads what a pod asks.

    Args:
        resources: The resources of ours that it asks for.
        annotations: The pod's.

    Returns:
        The questions, or a sentence that says what is wrong with an annotation.
    """
    if not resources:
        return Asked()
    class_name = annotations.get(ANNOTATION_CLASS, "").strip()
    if len(class_name) > _MAX_CLASS_LENGTH:
        return Asked(
            refusal=f"annotation {ANNOTATION_CLASS} has {len(class_name)} characters; expected "
            "the name of a QPUClass"
        )
    min_qubits, shape = 1, None
    try:
        key = ANNOTATION_MIN_QUBITS
        if key in annotations:
            min_qubits = parse_min_qubits(annotations[key])
        key = ANNOTATION_CIRCUIT_SHAPE
        if key in annotations:
            shape = parse_circuit_shape(annotations[key])
    except ValueError as error:
        return Asked(refusal=f"annotation {key}: {error}")
    return Asked(
        tuple(
            Question(Demand(resource, class_name, min_qubits), shape)
            for resource in sorted(resources)
        )
    )
