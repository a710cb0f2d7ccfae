"""The QPUClass object: a quality of service that users ask for by name."""

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from kubeqpu.common import placement
from kubeqpu.common.api.base import (
    AGE,
    LIST_ATOMIC,
    LIST_SET,
    APIObject,
    Column,
    Model,
    Resource,
    checked_by,
    rules_of,
)
from kubeqpu.common.api.durations import Duration
from kubeqpu.common.api.metadata import LabelSelector, ObjectMeta

_POSITIVE = rules_of(("duration(self) > duration('0s')", "must be longer than 0s"))
_DEFAULTS = placement.Weights()
_MAX_WEIGHT = 1000
_Name = Annotated[str, Field(min_length=1, max_length=63)]


class AdmissionMode(StrEnum):
    """How pods of a class wait for a QPU."""

    GATE = "Gate"
    CHECK = "Check"
    NONE = "None"


class RequirementsSpec(Model):
    """Limits that a QPU has to keep; an absent one is no limit."""

    min_qubits: int = Field(default=1, ge=1)
    """Smallest acceptable width."""
    max_median_two_qubit_error: float | None = Field(default=None, gt=0, le=1)
    """Largest acceptable median error of two-qubit gates."""
    max_median_readout_error: float | None = Field(default=None, gt=0, le=1)
    """Largest acceptable median error of measurements."""
    max_eplg: float | None = Field(
        default=None, gt=0, le=1, validation_alias="maxEPLG", serialization_alias="maxEPLG"
    )
    """Largest acceptable error per layered gate; a QPU that tells none is refused."""
    max_calibration_age: Duration | None = Field(default=None, json_schema_extra=_POSITIVE)
    """Oldest acceptable calibration, such as 24h."""
    max_estimated_wait: Duration | None = Field(default=None, json_schema_extra=_POSITIVE)
    """Longest acceptable wait, such as 10m."""
    providers: tuple[_Name, ...] = Field(default=(), max_length=64, json_schema_extra=LIST_SET)
    """Acceptable providers; empty: all."""
    simulators: placement.SimulatorPolicy = placement.SimulatorPolicy.ALLOW
    """Whether simulators may (Allow), must (Require) or must not (Forbid) be used."""
    selector: LabelSelector = LabelSelector()
    """Labels of acceptable QPUs; empty: all."""


class WeightsSpec(Model):
    """How much each part counts when QPUs are ranked; only their ratios matter."""

    model_config = checked_by(
        (
            "self.wait + self.fidelity + self.freshness + self.utilisation > 0.0",
            "weights must not all be 0",
        )
    )

    wait: float = Field(default=_DEFAULTS.wait, ge=0, le=_MAX_WEIGHT)
    """Short waits."""
    fidelity: float = Field(default=_DEFAULTS.fidelity, ge=0, le=_MAX_WEIGHT)
    """Few errors."""
    freshness: float = Field(default=_DEFAULTS.freshness, ge=0, le=_MAX_WEIGHT)
    """Recent calibration."""
    utilisation: float = Field(default=_DEFAULTS.utilisation, ge=0, le=_MAX_WEIGHT)
    """Free slots."""


class QPUClassSpec(Model):
    """Which QPUs the class accepts, how it ranks them, and what happens while there is none."""

    requirements: RequirementsSpec = RequirementsSpec()
    """Limits that a QPU has to keep."""
    weights: WeightsSpec = WeightsSpec()
    """How much each part counts when QPUs are ranked."""
    fallback: tuple[_Name, ...] = Field(default=(), max_length=16, json_schema_extra=LIST_ATOMIC)
    """Classes to try in this order when the QPU of a job is lost."""
    admission: AdmissionMode = AdmissionMode.GATE
    """How pods wait for a QPU. Gate: before Kueue counts them. Check: after Kueue reserved quota.
    None: they do not."""


class QPUClass(APIObject):
    """A quality of service that pods and jobs ask for by name, as a StorageClass is.

    Work that names no class gets the one with the annotation kubeqpu.io/is-default-class: "true".
    """

    model_config = checked_by(
        (
            "!has(self.spec.fallback) || !self.spec.fallback.exists(name, name == "
            "self.metadata.name)",
            "fallback must not name the class itself",
        ),
        (
            "!has(self.spec.fallback) || self.spec.fallback.all(name, "
            "self.spec.fallback.exists_one(other, other == name))",
            "fallback must not name a class twice",
        ),
        (
            "size(self.metadata.name) <= 63",
            "metadata.name must have at most 63 characters, for it becomes a label's value",
        ),
    )
    resource: ClassVar[Resource] = Resource(
        kind="QPUClass",
        plural="qpuclasses",
        singular="qpuclass",
        short_names=("qpuc",),
        namespaced=False,
        columns=(
            Column(
                "DEFAULT",
                r".metadata.annotations.kubeqpu\.io/is-default-class",
                "string",
                "Whether work that names no class gets this one.",
            ),
            Column(
                "MIN-QUBITS", ".spec.requirements.minQubits", "integer", "Smallest width it takes."
            ),
            Column(
                "MAX-2Q-ERROR",
                ".spec.requirements.maxMedianTwoQubitError",
                "number",
                "Largest median error of two-qubit gates it takes.",
            ),
            Column("MAX-WAIT", ".spec.requirements.maxEstimatedWait", "string", "Longest wait."),
            Column(
                "SIMULATORS",
                ".spec.requirements.simulators",
                "string",
                "Whether simulators may, must or must not be used.",
            ),
            Column("ADMISSION", ".spec.admission", "string", "How pods wait for a QPU."),
            AGE,
            Column("FALLBACK", ".spec.fallback", "string", "Classes tried after it.", wide=True),
        ),
    )

    metadata: ObjectMeta
    spec: QPUClassSpec
    """Which QPUs the class accepts and how it ranks them."""
