"""What a pod asks of QPUs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kubeqpu.common import requests
from kubeqpu.common.placement import CircuitShape


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
    try:
        class_name = requests.read_class_name(annotations)
        min_qubits = requests.read_min_qubits(annotations)
        shape = requests.read_shape(annotations)
    except requests.MalformedWishError as error:
        return Asked(refusal=str(error))
    return Asked(
        tuple(
            Question(Demand(resource, class_name, min_qubits), shape)
            for resource in sorted(resources)
        )
    )
