"""What is written into a Workload's status: our own entries, and nothing else."""

from collections.abc import Collection, Mapping
from datetime import datetime

from pydantic import JsonValue

from kubeqpu.admission.checks.registry import API_VERSION, format_time
from kubeqpu.admission.checks.verdicts import Verdict
from kubeqpu.admission.checks.workloads import Entry, State, Workload
from kubeqpu.common import names
from kubeqpu.common.requests import JSONObject
from kubeqpu.kube.resources import Manifest

_KEPT = ("name", "state", "lastTransitionTime", "message", "requeueAfterSeconds")


def write_entries(
    workload: Workload, verdicts: Mapping[str, Verdict], ours: Collection[str], now: datetime
) -> Manifest:
    """Writes our entries for server-side apply, to the very object that was read.

    All entries of ours go along, also those that stay as they are: an entry that was applied once
    and is left out of the next apply is removed.

    Args:
        workload: The Workload as it was read.
        verdicts: What is said anew, by the check.
        ours: All checks of ours.
        now: The time, in UTC.
    """
    entries: list[JsonValue] = [
        _write(entry, verdicts[entry.name], now) if entry.name in verdicts else _repeat(entry)
        for entry in workload.entries
        if entry.name in ours
    ]
    return {
        "apiVersion": API_VERSION,
        "kind": "Workload",
        "metadata": {
            "name": workload.name,
            "namespace": workload.namespace,
            "uid": workload.uid,
            "resourceVersion": workload.version,
        },
        "status": {"admissionChecks": entries},
    }


def _write(entry: Entry, verdict: Verdict, now: datetime) -> JSONObject:
    # A verdict is made only where the state changes.
    written: JSONObject = {
        "name": entry.name,
        "state": verdict.state.value,
        "lastTransitionTime": format_time(now),
        "message": verdict.message,
    }
    if verdict.requeue_seconds is not None:
        written["requeueAfterSeconds"] = verdict.requeue_seconds
    if verdict.notes:
        written["podSetUpdates"] = [
            {"name": name, "annotations": {names.ANNOTATION_ADMISSION_REASON: words}}
            for name, words in verdict.notes.items()
        ]
    return written


def _repeat(entry: Entry) -> JSONObject:
    # Kueue's reset cannot take away what we alone own: leaving it out does.
    kept = (*_KEPT, "podSetUpdates") if entry.state == State.READY else _KEPT
    return {key: entry.content[key] for key in kept if key in entry.content}
