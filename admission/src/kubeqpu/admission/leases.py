"""Leases as plain data."""

from dataclasses import dataclass
from datetime import UTC, datetime

from pydantic import BaseModel, ConfigDict, Field, JsonValue
from pydantic.alias_generators import to_camel


@dataclass(frozen=True)
class Lease:
    """A Lease as it was read.

    Attributes:
        name: Its name.
        holder: Who holds it; empty: nobody.
        duration_seconds: How long after its last change others may take it.
        acquired: When its holder took it, by the holder's clock.
        renewed: When it was renewed last, by the holder's clock.
        transitions: How often its holder changed.
        resource_version: Changes with every write.
    """

    name: str
    holder: str = ""
    duration_seconds: float = 0.0
    acquired: datetime | None = None
    renewed: datetime | None = None
    transitions: int = 0
    resource_version: str = ""


class _Wire(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel)


class _Metadata(_Wire):
    name: str
    resource_version: str = ""


class _Spec(_Wire):
    holder_identity: str | None = None
    lease_duration_seconds: float | None = None
    acquire_time: datetime | None = None
    renew_time: datetime | None = None
    lease_transitions: int | None = None


class _Manifest(_Wire):
    metadata: _Metadata
    spec: _Spec | None = Field(default=None)


def parse_lease(manifest: dict[str, JsonValue]) -> Lease:
    """Reads a Lease.

    Raises:
        ValueError: If it is none.
    """
    found = _Manifest.model_validate(manifest)
    spec = found.spec or _Spec()
    return Lease(
        name=found.metadata.name,
        holder=spec.holder_identity or "",
        duration_seconds=spec.lease_duration_seconds or 0.0,
        acquired=spec.acquire_time,
        renewed=spec.renew_time,
        transitions=spec.lease_transitions or 0,
        resource_version=found.metadata.resource_version,
    )


def format_micro_time(time: datetime) -> str:
    """Writes a time as a Lease and an Event want it, with microseconds."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
