"""Our AdmissionChecks: which there are, what they refer to, and whether they can be used."""

from dataclasses import dataclass
from datetime import datetime

from pydantic import JsonValue

from kubeqpu.admission.checks.verdicts import BAD_PARAMETERS, Check
from kubeqpu.common import api, names
from kubeqpu.common.classes import Classes
from kubeqpu.common.requests import JSONObject, object_at, objects_at
from kubeqpu.kube.resources import KUEUE_GROUP, KUEUE_VERSION, Manifest, name_of, uid_of, version_of

# Under this name checks are ours, and fields of Kueue's objects are written.
CONTROLLER = f"{names.DOMAIN}/qpu"
API_VERSION = f"{KUEUE_GROUP}/{KUEUE_VERSION}"
ACTIVE = "Active"


@dataclass(frozen=True)
class Registered:
    """An AdmissionCheck of ours as it was read.

    Attributes:
        name: Its name.
        uid: Its uid.
        version: Its resource version.
        generation: Changes with its spec.
        parameters: What it refers to; empty for nothing.
        active: Its condition Active; empty for none.
    """

    name: str
    uid: str
    version: str
    generation: int
    parameters: JSONObject
    active: JSONObject


def read_check(manifest: Manifest) -> Registered | None:
    """Reads an AdmissionCheck; None of one that is not ours."""
    spec = object_at(manifest, "spec")
    if spec.get("controllerName") != CONTROLLER:
        return None
    conditions = objects_at(object_at(manifest, "status"), "conditions")
    generation = object_at(manifest, "metadata").get("generation")
    return Registered(
        name=name_of(manifest),
        uid=uid_of(manifest),
        version=version_of(manifest),
        generation=generation if isinstance(generation, int) else 0,
        parameters=object_at(spec, "parameters"),
        active=next((one for _, one in conditions if one.get("type") == ACTIVE), {}),
    )


def resolve(registered: Registered, classes: Classes) -> Check:
    """Looks up what a check refers to."""
    name, found = registered.name, registered.parameters
    if not found:
        return Check(name)
    reference = (found.get("apiGroup"), found.get("kind"))
    class_name = str(found.get("name", ""))
    if reference != (api.GROUP, api.QPUClass.resource.kind):
        problem = (
            f"AdmissionCheck {name} refers to {reference[1]}.{reference[0]} {class_name}; expected "
            f"a QPUClass of group {api.GROUP}: change spec.parameters, or remove it."
        )
    elif not class_name or classes.find(class_name) is None:
        problem = (
            f"AdmissionCheck {name} refers to QPUClass {class_name}, which does not exist: make it,"
            " or change spec.parameters. `kubectl get qpuclasses` shows those that exist."
        )
    else:
        return Check(name, class_name)
    return Check(name, class_name, problem)


def find_condition(registered: Registered, check: Check, now: datetime) -> JSONObject | None:
    """Decides what its condition Active has to become; None if it is so already."""
    status = "False" if check.problem else "True"
    good = "Workloads are admitted when a QPU fits their class"
    good += f" and class {check.class_name}." if check.class_name else "."
    wanted: dict[str, JsonValue] = {
        "type": ACTIVE,
        "status": status,
        "reason": BAD_PARAMETERS if check.problem else ACTIVE,
        "message": check.problem or good,
        "observedGeneration": registered.generation,
    }
    known = registered.active
    if all(known.get(key) == value for key, value in wanted.items()):
        return None
    stays = known.get("status") == status and isinstance(known.get("lastTransitionTime"), str)
    since = known["lastTransitionTime"] if stays else format_time(now)
    return {**wanted, "lastTransitionTime": since}


def write_condition(registered: Registered, condition: JSONObject) -> Manifest:
    """Writes the condition for server-side apply, to the very object that was read."""
    return {
        "apiVersion": API_VERSION,
        "kind": "AdmissionCheck",
        "metadata": {
            "name": registered.name,
            "uid": registered.uid,
            "resourceVersion": registered.version,
        },
        "status": {"conditions": [condition]},
    }


def format_time(now: datetime) -> str:
    """Writes a time as Kubernetes does, in whole seconds."""
    return now.strftime("%Y-%m-%dT%H:%M:%SZ")
