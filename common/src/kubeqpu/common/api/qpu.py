"""The QPU object: a quantum processor or simulator, as a Node is a machine."""

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import AwareDatetime, Field

from kubeqpu.common import names
from kubeqpu.common.api.base import (
    AGE,
    LIST_ATOMIC,
    MAP_ATOMIC,
    APIObject,
    Column,
    Model,
    Resource,
    checked_by,
    list_map,
    rules_of,
)
from kubeqpu.common.api.metadata import Conditions, LabelKey, LabelValue, ObjectMeta

MAX_NAME_LENGTH = 50
MAX_SLOTS = 1000


def lease_name(qpu: str) -> str:
    """Names the Lease that a QPU's gateway renews, in the gateway's namespace."""
    return f"kubeqpu-qpu-{qpu}"


class SlotPlacement(StrEnum):
    """Where a QPU's slots live."""

    GATEWAY = "Gateway"
    SPREAD = "Spread"


class ResourceName(StrEnum):
    """Extended resources that offer slots to pods."""

    QPU = names.RESOURCE_QPU
    GPU_SIMULATOR = names.RESOURCE_GPU_SIMULATOR
    CPU_SIMULATOR = names.RESOURCE_CPU_SIMULATOR


class QPUSpec(Model):
    """What the QPU is and who may use it. Its gateway owns everything but `unschedulable`."""

    model_config = checked_by(
        (
            "self.simulator || !self.resourceName.endsWith('-simulator')",
            "resourceName must not be a simulator's for a QPU that is none",
        ),
        (
            "self.slotPlacement == 'Spread' || !has(self.slotNodeSelector)"
            " || size(self.slotNodeSelector) == 0",
            "slotNodeSelector is for slotPlacement Spread; slots placed Gateway live on the "
            "gateway's own node",
        ),
    )

    provider: str = Field(
        min_length=1,
        max_length=63,
        json_schema_extra=rules_of(
            ("self == oldSelf", "provider cannot change; give another QPU another name")
        ),
    )
    """Name of the provider that runs its circuits, such as ibm, aer or fake. Cannot change."""
    backend_name: str = Field(default="", max_length=253)
    """The provider's own name for it, such as ibm_fez."""
    simulator: bool = Field(
        default=False,
        json_schema_extra=rules_of(
            ("self == oldSelf", "simulator cannot change; give another QPU another name")
        ),
    )
    """Whether results are computed classically, with or without noise. Cannot change."""
    resource_name: ResourceName = Field(
        default=ResourceName.QPU,
        json_schema_extra=rules_of(
            ("self == oldSelf", "resourceName cannot change; give another QPU another name")
        ),
    )
    """Extended resource that offers its slots to pods. Cannot change."""
    slots: int = Field(default=1, ge=1, le=MAX_SLOTS)
    """How many pods may use it at once."""
    slot_placement: SlotPlacement = SlotPlacement.GATEWAY
    """Where its slots live. Gateway: on the node that the gateway runs on. Spread: divided over
    the nodes of slotNodeSelector."""
    slot_node_selector: dict[LabelKey, LabelValue] = Field(
        default_factory=dict, max_length=32, json_schema_extra=MAP_ATOMIC
    )
    """Labels of the nodes that slots are divided over; empty: all nodes with a device plugin."""
    unschedulable: bool = False
    """Cordon: what runs is finished, nothing new is taken. Set by people, never by the gateway."""


class QueueStatus(Model):
    """Work that waits in front of a QPU."""

    provider_pending: int = Field(default=0, ge=0)
    """Jobs of all customers waiting at the provider."""
    gateway_pending: int = Field(default=0, ge=0)
    """Circuits waiting in the gateway."""
    estimated_wait_seconds: float = Field(default=0.0, ge=0)
    """Expected time until a job submitted now starts."""


class CalibrationStatus(Model):
    """Figures of the last calibration; medians leave dead qubits and edges out."""

    id: str = Field(max_length=253)
    """Changes with every calibration."""
    time: AwareDatetime
    """When the QPU was calibrated."""
    median_one_qubit_error: float = Field(ge=0, le=1)
    """Median error of a one-qubit gate."""
    median_two_qubit_error: float = Field(ge=0, le=1)
    """Median error of a two-qubit gate."""
    median_readout_error: float = Field(ge=0, le=1)
    """Median error of a measurement."""
    median_t1_seconds: float = Field(default=0.0, ge=0)
    """Median relaxation time."""
    median_t2_seconds: float = Field(default=0.0, ge=0)
    """Median dephasing time."""
    eplg: float | None = Field(default=None, ge=0, le=1)
    """Error per layered gate of a 100-qubit chain, where the provider tells it."""
    dead_edges: int = Field(default=0, ge=0)
    """Two-qubit gates whose error is 1 or more."""


class NodeSlots(Model):
    """The slots that one node offers."""

    name: str = Field(min_length=1, max_length=253)
    """Name of the node."""
    slots: int = Field(ge=0, le=MAX_SLOTS)
    """Slots on this node."""
    held: int = Field(default=0, ge=0, le=MAX_SLOTS)
    """How many of them pods hold."""


class Summary(Model):
    """What `kubectl get` shows and cannot compute."""

    wait: str = Field(default="", max_length=16)
    """The estimated wait, rounded: 45s, 12m, 3h."""
    slots: str = Field(default="", max_length=16)
    """Slots held and slots in all: 1/4."""


class QPUStatus(Model):
    """What the gateway last saw."""

    observed_generation: int | None = Field(default=None, ge=0)
    """The generation of the spec that the gateway acts on."""
    conditions: Conditions = ()
    """Ready: the gateway lives and reaches the provider. Accepting: the provider takes jobs.
    Calibrated: the last calibration is within its age limit."""
    gateway: str = Field(default="", max_length=300)
    """Where the gateway listens, as host:port."""
    num_qubits: int = Field(default=0, ge=0)
    """Width of the largest circuit it takes."""
    max_shots: int = Field(default=0, ge=0)
    """Most shots of one circuit."""
    max_circuits: int = Field(default=0, ge=0)
    """Most circuits in one submission to the provider."""
    basis_gates: tuple[Annotated[str, Field(max_length=63)], ...] = Field(
        default=(), max_length=256, json_schema_extra=LIST_ATOMIC
    )
    """Gates that it executes as they are."""
    queue: QueueStatus = QueueStatus()
    """Work that waits in front of it."""
    calibration: CalibrationStatus | None = None
    """Its last calibration; absent for a QPU without errors."""
    nodes: tuple[NodeSlots, ...] = Field(
        default=(), max_length=1000, json_schema_extra=list_map("name")
    )
    """The nodes that offer its slots."""
    summary: Summary = Summary()
    """What `kubectl get` shows and cannot compute."""


class QPU(APIObject):
    """A quantum processor or simulator, registered and kept up to date by its gateway."""

    model_config = checked_by(
        (
            f"size(self.metadata.name) <= {MAX_NAME_LENGTH}",
            f"metadata.name must have at most {MAX_NAME_LENGTH} characters, for device ids and "
            "label keys are made from it",
        ),
        (
            "!self.metadata.name.contains('.')",
            "metadata.name must not contain dots, for label keys are made from it",
        ),
    )
    resource: ClassVar[Resource] = Resource(
        kind="QPU",
        plural="qpus",
        singular="qpu",
        short_names=(),
        namespaced=False,
        columns=(
            Column(
                "READY",
                '.status.conditions[?(@.type=="Ready")].status',
                "string",
                "Whether the gateway lives and reaches the provider.",
            ),
            Column("QUBITS", ".status.numQubits", "integer", "Width of the largest circuit."),
            Column("WAIT", ".status.summary.wait", "string", "Estimated wait of a new job."),
            Column("QUEUE", ".status.queue.gatewayPending", "integer", "Circuits in the gateway."),
            Column(
                "2Q-ERROR",
                ".status.calibration.medianTwoQubitError",
                "number",
                "Median error of a two-qubit gate.",
            ),
            Column(
                "CALIBRATED", ".status.calibration.time", "date", "Age of the last calibration."
            ),
            Column("SLOTS", ".status.summary.slots", "string", "Slots held, and slots in all."),
            Column("PROVIDER", ".spec.provider", "string", "What runs its circuits."),
            AGE,
            Column(
                "ACCEPTING",
                '.status.conditions[?(@.type=="Accepting")].status',
                "string",
                "Whether the provider takes jobs.",
                wide=True,
            ),
            Column("CORDONED", ".spec.unschedulable", "boolean", "Takes nothing new.", wide=True),
            Column(
                "PROVIDER-QUEUE",
                ".status.queue.providerPending",
                "integer",
                "Jobs of all customers at the provider.",
                wide=True,
            ),
            Column("RESOURCE", ".spec.resourceName", "string", "What pods ask for.", wide=True),
            Column("BACKEND", ".spec.backendName", "string", "The provider's name.", wide=True),
            Column("GATEWAY", ".status.gateway", "string", "Where to submit.", wide=True),
        ),
    )

    metadata: ObjectMeta
    spec: QPUSpec
    """What the QPU is and who may use it."""
    status: QPUStatus = QPUStatus()
    """What the gateway last saw."""
