"""What the controller writes about a QPU whose gateway is silent."""

from datetime import UTC, datetime

from pydantic import JsonValue

from kubeqpu.admission.health import Heartbeat
from kubeqpu.common import api
from kubeqpu.common.qpu import ConditionStatus
from kubeqpu.kube.events import Regarding, Reporter, write_event

READY = "Ready"
REASON = "GatewaySilent"
CONTROLLER = "kubeqpu.io/controller"


def find_ready(qpu: api.QPU) -> api.Condition | None:
    """Finds a QPU's condition Ready."""
    return next((item for item in qpu.status.conditions if item.type == READY), None)


def is_told(qpu: api.QPU) -> bool:
    """Tells whether the QPU says already that its gateway is silent."""
    ready = find_ready(qpu)
    return ready is not None and (ready.status, ready.reason) == (ConditionStatus.UNKNOWN, REASON)


def describe(qpu: api.QPU, heartbeat: Heartbeat, holder: str, namespace: str) -> str:
    """Says in words what is known and what to do.

    Args:
        qpu: The QPU.
        heartbeat: What is known of its Lease.
        holder: Who renewed the Lease last: the gateway's pod; empty if unknown.
        namespace: Where its Lease and the gateway's pod are.
    """
    gateway = f"The gateway at {qpu.status.gateway}" if qpu.status.gateway else "Its gateway"
    lease = f"{namespace}/{api.lease_name(qpu.metadata.name)}"
    since = heartbeat.since.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    what = f"has not renewed Lease {lease} since {since}"
    if heartbeat.renewed is None:
        what = f"renews no Lease {lease}, at least since {since}"
    look = f"kubectl describe pods --namespace={namespace}"
    if holder:
        look = f"kubectl describe pod {holder} --namespace={namespace}"
    return (
        f"{gateway} {what}; whether it works is not known. Its queued circuits wait for its "
        f"return. See what became of its pod: {look}"
    )


def condition(qpu: api.QPU, message: str, now: datetime) -> dict[str, JsonValue]:
    """Writes the condition Ready, for server-side apply.

    It applies only to the very state that was read: uid and resourceVersion go along, so the API
    server refuses it if anyone, such as the gateway that came back, wrote in between.
    """
    ready = find_ready(qpu)
    stays = ready is not None and ready.status is ConditionStatus.UNKNOWN
    written = api.Condition(
        type=READY,
        status=ConditionStatus.UNKNOWN,
        reason=REASON,
        message=message,
        last_transition_time=(
            ready.last_transition_time
            if ready is not None and stays
            else now.replace(microsecond=0)
        ),
        observed_generation=qpu.metadata.generation,
    )
    return {
        "apiVersion": api.API_VERSION,
        "kind": qpu.resource.kind,
        "metadata": {
            "name": qpu.metadata.name,
            "uid": qpu.metadata.uid,
            "resourceVersion": qpu.metadata.resource_version,
        },
        "status": {
            "conditions": [written.model_dump(mode="json", by_alias=True, exclude_none=True)]
        },
    }


def event(qpu: api.QPU, message: str, instance: str) -> dict[str, JsonValue]:
    """Writes the Event that says so."""
    metadata = qpu.metadata
    about = Regarding(api.API_VERSION, qpu.resource.kind, metadata.name, metadata.uid or "")
    return write_event(
        about,
        Reporter(CONTROLLER, instance),
        reason=REASON,
        action="MarkReadyUnknown",
        note=message,
        is_warning=True,
    )
