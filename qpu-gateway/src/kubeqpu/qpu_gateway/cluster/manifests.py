"""The QPU object as its gateway wants it, and what may stand against that. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from pydantic import JsonValue

from kubeqpu.common import api, names
from kubeqpu.common.qpu import ConditionStatus
from kubeqpu.qpu_gateway.cluster.statuses import READY
from kubeqpu.qpu_gateway.providers.base import Provider, QPUSettings
from kubeqpu.qpu_gateway.settings import ConfigurationError

FIELD_MANAGER = "kubeqpu-gateway"
LABEL_GATEWAY = f"{names.DOMAIN}/gateway"
LABEL_PROVIDER = f"{names.DOMAIN}/provider"
LEASE_SECONDS = 40
_OWNER_API_VERSION = "rbac.authorization.k8s.io/v1"
_IMMUTABLE = {"provider": "provider", "simulator": "simulator", "resource_name": "resourceName"}


def make_spec(settings: QPUSettings, provider: Provider) -> api.QPUSpec:
    """Makes a QPU's spec from its configuration: every field but `unschedulable`.

    Raises:
        ConfigurationError: If the API server would refuse it.
    """
    if settings.resource_name not in names.RESOURCES:
        raise ConfigurationError(
            f"QPU {settings.name} has resource name {settings.resource_name!r}; choose one of "
            f"{', '.join(names.RESOURCES)}."
        )
    if settings.resource_name != names.RESOURCE_QPU and not provider.simulator:
        raise ConfigurationError(
            f"QPU {settings.name} is no simulator, but its resource name is "
            f"{settings.resource_name}; set it to {names.RESOURCE_QPU}."
        )
    if settings.slot_placement == "Gateway" and settings.slot_node_selector:
        raise ConfigurationError(
            f"QPU {settings.name} has a slot node selector, but its slots are placed on the "
            "gateway's own node; set slot_placement to Spread, or leave the selector out."
        )
    fields: dict[str, object] = {
        "provider": settings.provider,
        "backend_name": provider.backend_name,
        "simulator": provider.simulator,
        "resource_name": settings.resource_name,
        "slots": settings.slots,
        "slot_placement": settings.slot_placement,
    }
    if settings.slot_node_selector:
        fields["slot_node_selector"] = settings.slot_node_selector
    return api.QPUSpec.model_validate(fields)


@dataclass(frozen=True)
class Owner:
    """The ClusterRole with which a QPU object is collected.

    Attributes:
        name: Its name.
        uid: Its uid; with a wrong one the garbage collector would delete the QPU at once.
    """

    name: str
    uid: str


def make_manifest(
    name: str, spec: api.QPUSpec, gateway: str, owner: Owner | None
) -> dict[str, JsonValue]:
    """Writes the QPU object for server-side apply, without fields that others own."""
    metadata: dict[str, object] = {
        "name": name,
        "labels": {LABEL_GATEWAY: gateway, LABEL_PROVIDER: spec.provider},
    }
    if owner is not None:
        reference = api.OwnerReference(
            api_version=_OWNER_API_VERSION, kind="ClusterRole", name=owner.name, uid=owner.uid
        )
        metadata["owner_references"] = (reference,)
    return api.QPU(metadata=api.ObjectMeta.model_validate(metadata), spec=spec).to_manifest()


def is_current(found: api.QPU, wanted: Mapping[str, JsonValue]) -> bool:
    """Tells whether an object has everything that the gateway wants in it."""
    return _includes(found.model_dump(mode="json", by_alias=True), wanted)


def _includes(found: JsonValue, wanted: object) -> bool:
    if isinstance(wanted, Mapping):
        return isinstance(found, dict) and all(
            key in ("apiVersion", "kind") or _includes(found.get(key), value)
            for key, value in wanted.items()
        )
    if isinstance(wanted, list):
        return isinstance(found, list) and all(
            any(_includes(one, item) for one in found) for item in wanted
        )
    return found == wanted


def find_conflicts(found: api.QPUSpec, wanted: api.QPUSpec) -> tuple[str, ...]:
    """Finds fields that cannot change and would have to, each with both values."""
    return tuple(
        f"{written} is {getattr(found, field)} and should be {getattr(wanted, field)}"
        for field, written in _IMMUTABLE.items()
        if getattr(found, field) != getattr(wanted, field)
    )


@dataclass(frozen=True)
class Holder:
    """Who holds the Lease of a QPU in the gateway's own namespace.

    Attributes:
        name: Name of the holder's pod; empty where it was released.
        renewed_at: When it was renewed last, or None.
        duration_seconds: How long it holds without renewal.
    """

    name: str
    renewed_at: datetime | None
    duration_seconds: float


def find_rival(
    found: api.QPU, endpoint: str, pod: str, holder: Holder | None, now: datetime
) -> str | None:
    """Finds the gateway to which a QPU object belongs, if that is another one and lives.

    Its Lease tells, where it is in our namespace. Elsewhere we may not read it; there, what the
    controller made of it does: `Ready` is Unknown when the Lease was not renewed.

    Args:
        found: The object.
        endpoint: Where this gateway listens.
        pod: Name of this gateway's pod.
        holder: Who holds the QPU's Lease in this gateway's namespace, or None without a Lease.
        now: The time, with time zone.

    Returns:
        Where the other gateway listens, or None if the QPU may be taken.
    """
    other = found.status.gateway
    if other in ("", endpoint):
        return None
    if _namespace(other) == _namespace(endpoint):
        if holder is None or holder.name in ("", pod) or holder.renewed_at is None:
            return None
        ends = holder.renewed_at + timedelta(seconds=holder.duration_seconds)
        return other if now < ends else None
    ready = next((item for item in found.status.conditions if item.type == READY), None)
    gone = ready is None or ready.status is ConditionStatus.UNKNOWN
    return None if gone else other


def _namespace(endpoint: str) -> str:
    """The namespace in a Service's name, as in `gateway.team.svc:7070`."""
    parts = endpoint.rpartition(":")[0].split(".")
    return parts[1] if len(parts) > 1 else ""
