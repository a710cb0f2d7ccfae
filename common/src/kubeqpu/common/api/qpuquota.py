"""The QPUQuota object: what a namespace may use, as a ResourceQuota is."""

from datetime import timedelta
from typing import ClassVar

from pydantic import Field

from kubeqpu.common.api.base import AGE, APIObject, Column, Model, Resource, checked_by, rules_of
from kubeqpu.common.api.durations import Duration, format_duration
from kubeqpu.common.api.metadata import Conditions, ObjectMeta

_DEFAULT_WINDOW = timedelta(hours=24)


class HardLimits(Model):
    """What may be used within one window; an absent limit is none."""

    model_config = checked_by(
        (
            "has(self.qpuSeconds) || has(self.shots) || has(self.jobs)",
            "hard must limit at least one of qpuSeconds, shots and jobs",
        )
    )

    qpu_seconds: float | None = Field(default=None, ge=0)
    """Seconds of QPU time."""
    shots: int | None = Field(default=None, ge=0)
    """Shots."""
    jobs: int | None = Field(default=None, ge=0)
    """Jobs."""


class Usage(Model):
    """What was used within the window that ends now, reservations of unfinished jobs included."""

    qpu_seconds: float = Field(default=0.0, ge=0)
    """Seconds of QPU time."""
    shots: int = Field(default=0, ge=0)
    """Shots."""
    jobs: int = Field(default=0, ge=0)
    """Jobs."""


class QPUQuotaSpec(Model):
    """What the namespace may use."""

    hard: HardLimits
    """What may be used within one window."""
    window: Duration = Field(
        default=_DEFAULT_WINDOW,
        json_schema_extra={
            **rules_of(("duration(self) >= duration('1m')", "window must be at least 1m")),
            "default": format_duration(_DEFAULT_WINDOW),
        },
    )
    """Length of the sliding window, such as 24h or 720h."""


class QPUQuotaStatus(Model):
    """What the namespace used."""

    observed_generation: int | None = Field(default=None, ge=0)
    """The generation of the spec that the figures belong to."""
    used: Usage = Usage()
    """What was used within the window that ends now."""
    conditions: Conditions = ()
    """Exhausted: a limit is reached, and new jobs wait."""


class QPUQuota(APIObject):
    """Limits what a namespace may use of all QPUs within a sliding window of time.

    If a namespace has several, each of them holds.
    """

    resource: ClassVar[Resource] = Resource(
        kind="QPUQuota",
        plural="qpuquotas",
        singular="qpuquota",
        short_names=("qpuq",),
        namespaced=True,
        columns=(
            Column("WINDOW", ".spec.window", "string", "Length of the sliding window."),
            Column("USED-SECONDS", ".status.used.qpuSeconds", "number", "QPU time used."),
            Column("HARD-SECONDS", ".spec.hard.qpuSeconds", "number", "QPU time allowed."),
            Column("USED-SHOTS", ".status.used.shots", "integer", "Shots used."),
            Column("HARD-SHOTS", ".spec.hard.shots", "integer", "Shots allowed."),
            Column("USED-JOBS", ".status.used.jobs", "integer", "Jobs used."),
            Column("HARD-JOBS", ".spec.hard.jobs", "integer", "Jobs allowed."),
            AGE,
        ),
    )

    metadata: ObjectMeta
    spec: QPUQuotaSpec
    """What the namespace may use."""
    status: QPUQuotaStatus = QPUQuotaStatus()
    """What the namespace used."""
