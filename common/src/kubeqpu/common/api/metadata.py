"""Parts that come from Kubernetes itself: metadata, conditions, label selectors."""

from typing import Annotated

from pydantic import AwareDatetime, Field

from kubeqpu.common.api.base import LIST_ATOMIC, LIST_SET, MAP_ATOMIC, Model, checked_by, list_map
from kubeqpu.common.placement import LabelOperator
from kubeqpu.common.qpu import ConditionStatus

LabelKey = Annotated[str, Field(min_length=1, max_length=317)]
LabelValue = Annotated[str, Field(max_length=63)]


class OwnerReference(Model):
    """The object with which this one is collected."""

    api_version: str
    kind: str
    name: str
    uid: str
    block_owner_deletion: bool | None = None


class ObjectMeta(Model):
    """Metadata, as far as kubeqpu reads or writes it."""

    name: str
    namespace: str | None = None
    uid: str | None = None
    resource_version: str | None = None
    generation: int | None = None
    creation_timestamp: AwareDatetime | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)
    owner_references: tuple[OwnerReference, ...] = ()


class Condition(Model):
    """One aspect of an object's state."""

    type: str = Field(
        max_length=316,
        pattern=r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$",
    )
    """What the condition is about."""
    status: ConditionStatus
    """Whether it holds."""
    reason: str = Field(max_length=1024, pattern=r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$")
    """Why, as one word for programs."""
    message: str = Field(max_length=32768)
    """Why, as a sentence for people, with what to do about it."""
    last_transition_time: AwareDatetime
    """When the status last changed."""
    observed_generation: int | None = Field(default=None, ge=0)
    """The generation of the object that the condition was made from."""


Conditions = Annotated[
    tuple[Condition, ...], Field(max_length=16, json_schema_extra=list_map("type"))
]


class LabelSelectorRequirement(Model):
    """One comparison of a label."""

    model_config = checked_by(
        (
            "self.operator in ['In', 'NotIn'] ? has(self.values) && size(self.values) > 0"
            " : !has(self.values) || size(self.values) == 0",
            "values must be given for the operators In and NotIn, and for no other",
        )
    )

    key: LabelKey
    """The label's key."""
    operator: LabelOperator
    """How its value is compared."""
    values: tuple[LabelValue, ...] = Field(default=(), max_length=64, json_schema_extra=LIST_SET)
    """The values to compare with, for In and NotIn."""


class LabelSelector(Model):
    """Selects objects whose labels satisfy every part."""

    match_labels: dict[LabelKey, LabelValue] = Field(
        default_factory=dict, max_length=64, json_schema_extra=MAP_ATOMIC
    )
    """Labels with the values they must have."""
    match_expressions: tuple[LabelSelectorRequirement, ...] = Field(
        default=(), max_length=32, json_schema_extra=LIST_ATOMIC
    )
    """Comparisons that must hold."""
