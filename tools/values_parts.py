"""Parts that several sections of the chart's values are made of."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue
from pydantic.alias_generators import to_camel

from kubeqpu.common.api.metadata import LabelKey, LabelValue
from kubeqpu.common.api.qpu import MAX_NAME_LENGTH

DNS_LABEL = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
QUANTITY = r"^[0-9]+(\.[0-9]+)?([KMGTPE]i?|m|k)?$"

# Fragments that Kubernetes defines; the API server checks them.
Fragment = dict[str, JsonValue]
Labels = dict[LabelKey, LabelValue]
Annotations = dict[str, str]
# A gateway's pod is named after it, and so is a label of that pod, which holds 63 characters.
GatewayName = Annotated[str, Field(pattern=DNS_LABEL, max_length=30)]
QPUName = Annotated[str, Field(pattern=DNS_LABEL, max_length=MAX_NAME_LENGTH)]
SecretName = Annotated[str, Field(pattern=r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?)?$", max_length=253)]
LogLevel = Literal["debug", "info", "warning", "error"]


def make_resources(cpu: str, memory: str, limit: str) -> Fragment:
    """Makes a container's resources: requests, and a limit of its memory alone."""
    return {"requests": {"cpu": cpu, "memory": memory}, "limits": {"memory": limit}}


class Section(BaseModel):
    """A part of the values; unknown keys are refused."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=to_camel,
        populate_by_name=True,
        use_attribute_docstrings=True,
    )


class Image(Section):
    """Where a component's image comes from."""

    repository: str = ""
    """Path of the image below the registry."""
    tag: str = ""
    """Overrides `image.tag`."""
    digest: str = Field(default="", pattern=r"^(sha256:[0-9a-f]{64})?$")
    """Pins the image, whatever the tag: sha256:..."""


class SharedImage(Section):
    """What all images have in common."""

    registry: str = ""
    """Registry of all images, without a slash at its end."""
    tag: str = ""
    """Tag of all images; empty: the chart's appVersion."""
    pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    """When nodes pull them."""
    pull_secrets: tuple[SecretName, ...] = ()
    """Names of Secrets to pull them with."""


class ServiceAccount(Section):
    """Whom a component acts as."""

    create: bool = True
    """Whether to make it."""
    name: str = ""
    """Its name; empty: made from the release's."""
    annotations: Annotations = Field(default_factory=dict)
    """Annotations, such as those of workload identity."""


class Workload(Section):
    """What all pods have in common."""

    log_level: LogLevel = "info"
    """Least severe level to log."""
    service_account: ServiceAccount = ServiceAccount()
    """Whom it acts as."""
    node_selector: Labels = Field(default_factory=dict)
    """Labels of nodes it may run on."""
    tolerations: tuple[Fragment, ...] = ()
    """Taints that it tolerates."""
    affinity: Fragment = Field(default_factory=dict)
    """Affinity."""
    priority_class_name: str = ""
    """Its PriorityClass."""
    pod_labels: Labels = Field(default_factory=dict)
    """More labels for its pods."""
    pod_annotations: Annotations = Field(default_factory=dict)
    """More annotations for its pods."""
    env: tuple[Fragment, ...] = ()
    """More environment variables, as a container's `env`."""


class Component(Workload):
    """What all components have in common but those of every node."""

    pod_disruption_budget: bool = True
    """Whether to make a PodDisruptionBudget."""
