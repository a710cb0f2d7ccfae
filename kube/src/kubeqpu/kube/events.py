"""Events as `kubectl describe` shows them."""

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime

from kubeqpu.kube.resources import Manifest

# The API server's limits.
_MAX_NOTE_LENGTH = 1024
_MAX_INSTANCE_LENGTH = 128
_MAX_NAME_LENGTH = 200


@dataclass(frozen=True)
class Regarding:
    """What an Event is about.

    Attributes:
        api_version: Of its kind.
        kind: Its kind.
        name: Its name.
        uid: Its uid.
        namespace: Its namespace; empty for a kind without.
    """

    api_version: str
    kind: str
    name: str
    uid: str
    namespace: str = ""


@dataclass(frozen=True)
class Reporter:
    """Who tells.

    Attributes:
        controller: Name of the component, such as `kubeqpu.io/controller`.
        instance: Name of its pod.
    """

    controller: str
    instance: str


def write_event(
    about: Regarding,
    reporter: Reporter,
    *,
    reason: str,
    action: str,
    note: str,
    is_warning: bool = False,
) -> Manifest:
    """Writes an Event that happens now; it lives where its object does, or in `default`.

    Args:
        about: What it is about.
        reporter: Who tells.
        reason: One word for programs.
        action: What was done, as one word.
        note: A sentence for people.
        is_warning: Whether someone should look.
    """
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    regarding: Manifest = {
        "apiVersion": about.api_version,
        "kind": about.kind,
        "name": about.name,
        "uid": about.uid,
    }
    if about.namespace:
        regarding["namespace"] = about.namespace
    stem = about.name[:_MAX_NAME_LENGTH].rstrip("-.")
    name = f"{stem}.{uuid.uuid4().hex[:16]}"
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": about.namespace or "default"},
        "eventTime": now,
        "type": "Warning" if is_warning else "Normal",
        "reason": reason,
        "action": action,
        "note": note[:_MAX_NOTE_LENGTH],
        "reportingController": reporter.controller,
        "reportingInstance": reporter.instance[:_MAX_INSTANCE_LENGTH],
        "regarding": regarding,
    }
