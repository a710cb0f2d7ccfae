"""What a provider is: the boundary between the gateway's queue and anything that runs circuits."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from kubeqpu.common import names
from kubeqpu.proto.v1 import gateway_pb2, qpu_pb2


class QPUSettings(BaseModel):
    """One QPU's section of the gateway's configuration file.

    Attributes:
        name: Name of the QPU object.
        provider: Entry-point name of the provider that runs it.
        slots: How many pods, and how many batches, may use it at once.
        resource_name: Extended resource that offers its slots.
        slot_placement: Where its slots live.
        slot_node_selector: Labels of the nodes that slots are spread over.
        credentials_dir: Directory with the provider's credentials, one file per key.
        options: The provider's own settings, checked by the provider.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=50)
    provider: str
    slots: int = Field(default=1, ge=1, le=1000)
    resource_name: str = names.RESOURCE_QPU
    slot_placement: Literal["Gateway", "Spread"] = "Gateway"
    slot_node_selector: dict[str, str] = Field(default_factory=dict)
    credentials_dir: Path | None = None
    options: dict[str, JsonValue] = Field(default_factory=dict)


@dataclass(frozen=True)
class Span:
    """Rows [first_row, first_row + rows) of one entry: circuits that run together."""

    entry: int
    first_row: int
    rows: int


@dataclass(frozen=True)
class Batch:
    """Circuits of one job that a provider runs in one submission.

    Attributes:
        job_id: Unique over all tenants; a provider tags its own submissions with it.
        tenant: Whose job it is. Work of two tenants never shares a process.
        spec: The job as submitted, validated, with `seed` filled in.
        spans: What to run; every row has a seed of its own that does not depend on the batch.
    """

    job_id: str
    tenant: str
    spec: gateway_pb2.JobSpec
    spans: tuple[Span, ...]


class Provider(Protocol):
    """Runs circuits on one QPU.

    An implementation is registered in the entry-point group `kubeqpu.providers` and made from one
    QPU's section of the gateway's configuration.
    """

    @property
    def backend_name(self) -> str:
        """The provider's own name for the QPU, known from its options before it starts."""

    @property
    def simulator(self) -> bool:
        """Whether results are computed classically; known before it starts, and never changes."""

    async def start(self) -> None:
        """Connects and loads the backend; idempotent.

        Raises:
            ProviderError: If the backend cannot be had.
        """

    async def describe(self, include_target: bool = False) -> qpu_pb2.QPU:
        """Reports the QPU now: size, conditions, provider queue, calibration, capabilities.

        Never raises for an unreachable provider: that is a condition.
        """

    def run(self, batch: Batch) -> AsyncIterator[gateway_pb2.ResultChunk]:
        """Runs a batch and yields chunks as circuits finish, each span in one or more chunks.

        Cancelling the iteration ends the work.

        Raises:
            CircuitError: If the circuits cannot run; the job fails with the message.
            ProviderUnavailableError: If the provider is away; the work stays queued.
        """

    async def close(self) -> None:
        """Lets go of everything; running batches are abandoned."""
