"""The API objects of kubeqpu: what the API server stores, typed.

They are read and written as JSON, so that any client will do. Decisions do not see them: they are
made from plain data, which `plain_qpu` and `placement_class` give. The CustomResourceDefinitions
in the chart are made from these models.
"""

from kubeqpu.common.api.base import API_VERSION, GROUP, VERSION, APIObject, Column, Resource
from kubeqpu.common.api.conversion import (
    class_object,
    placement_class,
    plain_qpu,
    shorten_seconds,
    summarise,
)
from kubeqpu.common.api.durations import Duration, format_duration, parse_duration
from kubeqpu.common.api.metadata import (
    Condition,
    LabelSelector,
    LabelSelectorRequirement,
    ObjectMeta,
    OwnerReference,
)
from kubeqpu.common.api.qpu import (
    QPU,
    CalibrationStatus,
    NodeSlots,
    QPUSpec,
    QPUStatus,
    QueueStatus,
    ResourceName,
    SlotPlacement,
    Summary,
    lease_name,
)
from kubeqpu.common.api.qpuclass import (
    AdmissionMode,
    QPUClass,
    QPUClassSpec,
    RequirementsSpec,
    WeightsSpec,
)
from kubeqpu.common.api.qpuquota import HardLimits, QPUQuota, QPUQuotaSpec, QPUQuotaStatus, Usage

OBJECTS: tuple[type[APIObject], ...] = (QPU, QPUClass, QPUQuota)

__all__ = [
    "API_VERSION",
    "GROUP",
    "OBJECTS",
    "QPU",
    "VERSION",
    "APIObject",
    "AdmissionMode",
    "CalibrationStatus",
    "Column",
    "Condition",
    "Duration",
    "HardLimits",
    "LabelSelector",
    "LabelSelectorRequirement",
    "NodeSlots",
    "ObjectMeta",
    "OwnerReference",
    "QPUClass",
    "QPUClassSpec",
    "QPUQuota",
    "QPUQuotaSpec",
    "QPUQuotaStatus",
    "QPUSpec",
    "QPUStatus",
    "QueueStatus",
    "RequirementsSpec",
    "Resource",
    "ResourceName",
    "SlotPlacement",
    "Summary",
    "Usage",
    "WeightsSpec",
    "class_object",
    "format_duration",
    "lease_name",
    "parse_duration",
    "placement_class",
    "plain_qpu",
    "shorten_seconds",
    "summarise",
]
