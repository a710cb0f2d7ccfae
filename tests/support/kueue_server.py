"""A stand-in for Kueue at a stand-in for the API server, as far as admission checks meet it.

It does to the status of Workloads what Kueue does: adds entries by a plain update, resets them by
an apply of its own, evicts, admits. It keeps who owns which field of an entry, as server-side apply
does, and notes what a controller of checks must not do.
"""

import asyncio
import copy
import json
import random
from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime

from aiohttp import web

from tests.support.object_server import Object, ObjectServer

PLAIN, APPLIER = "kueue", "kueue-admission"
_Owners = dict[str, dict[str, set[str]]]


class WorkloadServer(ObjectServer):
    """Serves Workloads whose entries of checks have owners, field by field.

    Attributes:
        faults: What a controller did that it must not do.
        applied: How many applies of entries were taken.
        conflicts: How many were refused, because the Workload had changed.
        answers_lost: Whether every tenth apply is taken, and its answer never sent.
    """

    def __init__(self) -> None:
        super().__init__()
        self.kinds = {
            "kueue.x-k8s.io/v1beta2": ["workloads", "admissionchecks"],
        }
        self.faults: list[str] = []
        self.applied = 0
        self.conflicts = 0
        self.answers_lost = False
        self._owners: dict[str, _Owners] = defaultdict(dict)

    async def _apply(
        self, request: web.Request, plural: str, name: str, status: bool
    ) -> web.Response:
        if plural not in ("workloads", "admissionchecks"):
            return await super()._apply(request, plural, name, status)
        assert request.content_type == "application/apply-patch+yaml"
        assert request.query["force"] == "true"
        sent, found = json.loads(await request.text()), self.get(plural, name)
        if not status:
            self.faults.append(f"{plural}/{name} itself was applied")
        if found is None:
            return _refuse(404, f"{name} not found")
        for key in ("uid", "resourceVersion"):
            if key not in sent["metadata"]:
                self.faults.append(f"{plural}/{name} was applied without {key}")
            elif sent["metadata"][key] != found["metadata"][key]:
                self.conflicts += 1
                return _refuse(409, "the object has been modified")
        if set(sent["status"]) - {"admissionChecks", "conditions"}:
            self.faults.append(f"{plural}/{name}: more than entries were applied")
        if plural == "admissionchecks":
            made = self.put(plural, {**found, "status": sent["status"]})
            return web.json_response(made)
        entries = sent["status"]["admissionChecks"]
        self._judge(found, entries)
        made = self.apply_entries(name, request.query["fieldManager"], entries)
        self.applied += 1
        if self.answers_lost and self.applied % 10 == 0:
            assert request.transport is not None
            request.transport.close()
        return web.json_response(made)

    def _judge(self, found: Object, entries: list[Object]) -> None:
        """Notes what must not be."""
        name, true = found["metadata"]["name"], conditions(found)
        if "QuotaReserved" not in true or true & {"Admitted", "Evicted", "Finished"}:
            self.faults.append(f"{name} was judged while it was not asked: {sorted(true)}")
        known = {one["name"]: one for one in found["status"]["admissionChecks"]}
        sets = {one["name"] for one in found["spec"]["podSets"]}
        for entry in entries:
            before = known.get(entry["name"])
            if before is None or not entry["name"].startswith("kubeqpu"):
                self.faults.append(f"{name}: entry {entry['name']} is not ours, or not there")
                continue
            same = before["state"] == entry["state"]
            if same and before["lastTransitionTime"] != entry["lastTransitionTime"]:
                self.faults.append(f"{name}: its transition time moved without a transition")
            if not {one["name"] for one in entry.get("podSetUpdates", [])} <= sets:
                self.faults.append(f"{name}: updates of a pod set that is not there")
            if entry["state"] == "Retry" and entry.get("requeueAfterSeconds", 0) < 15:
                self.faults.append(f"{name}: Retry without a wait")

    def apply_entries(
        self, name: str, manager: str, entries: list[Object], **status: object
    ) -> Object:
        """Applies entries by force, as server-side apply does: what is left out is given up."""
        found = copy.deepcopy(self.objects["workloads", name])
        owners = self._owners[found["metadata"]["uid"]]
        known: dict[str, Object] = {one["name"]: one for one in found["status"]["admissionChecks"]}
        sent = {one["name"]: one for one in entries}
        for entry, fields in list(owners.items()):
            for field, who in list(fields.items()):
                if manager in who and field not in sent.get(entry, {}):
                    who.discard(manager)
                    if not who:
                        del fields[field]
                        known[entry].pop(field, None)
            if not fields:
                del owners[entry], known[entry]
        for entry, content in sent.items():
            target = known.setdefault(entry, {})
            for field, value in content.items():
                who = owners.setdefault(entry, {}).setdefault(field, set())
                if target.get(field) != value:
                    who.clear()
                who.add(manager)
                target[field] = value
        found["status"] = {**found["status"], **status, "admissionChecks": list(known.values())}
        return self.put("workloads", found)

    def update_entries(self, name: str, entries: list[Object], **status: object) -> Object:
        """Replaces all entries by a plain update: what changes becomes the updater's."""
        found = copy.deepcopy(self.objects["workloads", name])
        owners = self._owners[found["metadata"]["uid"]]
        known = {one["name"]: one for one in found["status"].get("admissionChecks", [])}
        for gone in known.keys() - {one["name"] for one in entries}:
            owners.pop(gone, None)
        for entry in entries:
            fields = owners.setdefault(entry["name"], {})
            for field, value in entry.items():
                if known.get(entry["name"], {}).get(field) != value:
                    fields[field] = {PLAIN}
        found["status"] = {**found["status"], **status, "admissionChecks": entries}
        return self.put("workloads", found)


class Kueue:
    """Moves Workloads on, as Kueue does.

    Args:
        server: Where they are.
        checks: The checks of its queue, in the order of their names.
        requeue_scale: Seconds that a second of back-off takes here.
        seed: Of what happens by chance.
    """

    def __init__(
        self, server: WorkloadServer, checks: Iterable[str], requeue_scale: float, seed: int = 1
    ) -> None:
        self.server = server
        self.admitted: set[str] = set()
        self.rejected: set[str] = set()
        self.evictions: dict[str, int] = defaultdict(int)
        self._checks = sorted(checks)
        self._scale = requeue_scale
        self._random = random.Random(seed)

    def submit(self, manifest: Object) -> str:
        """Takes a Workload into the queue: its quota is reserved at once."""
        name = str(manifest["metadata"]["name"])
        manifest["status"] = {"conditions": told("QuotaReserved"), "admissionChecks": []}
        self.server.put("workloads", manifest)
        self._add_entries(name)
        return name

    def _add_entries(self, name: str) -> None:
        entries = [
            {"name": check, "state": "Pending", "lastTransitionTime": now(), "message": ""}
            for check in self._checks
        ]
        self.server.update_entries(name, entries)

    async def run(self, noise: float = 0.0) -> None:
        """Looks at all Workloads again and again until cancelled.

        Args:
            noise: How often a Workload changes for a reason that is no check's, per look.
        """
        while True:
            for (plural, name), found in list(self.server.objects.items()):
                if plural != "workloads" or name in self.admitted | self.rejected:
                    continue
                self._move(name, found)
                if self._random.random() < noise:
                    self._disturb(name)
            await asyncio.sleep(0.02)

    def _move(self, name: str, found: Object) -> None:
        true = conditions(found)
        if "QuotaReserved" not in true or "Evicted" in true:
            return
        states = [one["state"] for one in found["status"]["admissionChecks"]]
        if "Rejected" in states:
            self.rejected.add(name)
            self._reset(name, found, "Evicted")
        elif "Retry" in states:
            self.evictions[name] += 1
            seconds = max(
                one.get("requeueAfterSeconds", 0)
                for one in found["status"]["admissionChecks"]
                if one["state"] == "Retry"
            )
            self._reset(name, found, "QuotaReserved", "Evicted")
            loop = asyncio.get_running_loop()
            loop.call_later(0.02, self._reset, name, None, "Evicted")
            loop.call_later(0.02 + seconds * self._scale, self._requeue, name)
        elif states and set(states) == {"Ready"}:
            self.admitted.add(name)
            self._set(name, "QuotaReserved", "Admitted")

    def _reset(self, name: str, found: Object | None, *true: str) -> None:
        """Sets all entries to Pending, by an apply of its own; it counts every Retry."""
        found = found or self.server.objects["workloads", name]
        entries = []
        for one in found["status"]["admissionChecks"]:
            kept = {key: one[key] for key in ("name", "requeueAfterSeconds") if key in one}
            if one["state"] == "Pending":
                kept = {key: value for key, value in one.items() if key != "podSetUpdates"}
            else:
                kept |= {"state": "Pending", "lastTransitionTime": now(), "message": "Reset"}
                if one["state"] == "Retry":
                    kept["retryCount"] = one.get("retryCount", 0) + 1
            entries.append(kept)
        self.server.apply_entries(name, APPLIER, entries, conditions=told(*true))

    def _requeue(self, name: str) -> None:
        self._set(name, "QuotaReserved")

    def _set(self, name: str, *true: str) -> None:
        found = self.server.objects["workloads", name]
        self.server.put("workloads", {
            **found, "status": {**found["status"], "conditions": told(*true)},
        })  # fmt: skip

    def _disturb(self, name: str) -> None:
        found = copy.deepcopy(self.server.objects["workloads", name])
        found["metadata"].setdefault("labels", {})["noise"] = str(self._random.random())
        for one in found["status"]["admissionChecks"]:
            # Another controller gives its verdict.
            if not one["name"].startswith("kubeqpu") and one["state"] == "Pending":
                one |= {"state": "Ready", "lastTransitionTime": now(), "message": "fine"}
        self.server.put("workloads", found)


def now() -> str:
    """The time as Kueue writes it; a different one each time, so that moves are seen."""
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def told(*true: str) -> list[Object]:
    """Conditions that are true."""
    return [{"type": kind, "status": "True"} for kind in true]


def conditions(found: Object) -> set[str]:
    """The conditions of a Workload that are true."""
    told = found["status"].get("conditions", [])
    return {one["type"] for one in told if one["status"] == "True"}


def _refuse(status: int, message: str) -> web.Response:
    content = {"kind": "Status", "code": status, "message": message}
    return web.json_response(content, status=status)
