"""What becomes of a pod: who schedules it, where, what it presents to gateways, where it waits."""

from collections.abc import Callable
from dataclasses import dataclass

from kubeqpu.admission.outlooks import Outlook
from kubeqpu.admission.webhooks.credentials import add_credentials
from kubeqpu.admission.webhooks.drafts import Draft, Verdict
from kubeqpu.admission.webhooks.gates import choose_for_pod, set_gate
from kubeqpu.admission.webhooks.rules import find_contradiction, find_faults
from kubeqpu.common import names
from kubeqpu.common.requests import (
    JSONObject,
    PodRequest,
    PodTemplate,
    find_templates,
    object_at,
    objects_at,
    read_request,
)

_MIRROR = "kubernetes.io/config.mirror"
_STOCK_SCHEDULER = "default-scheduler"

Look = Callable[[PodRequest], Outlook]


@dataclass(frozen=True)
class Surroundings:
    """What a pod's mutation needs to know beside the pod.

    Attributes:
        look: Tells what a request can expect.
        authority: The gateways' authority as PEM; empty if it is not known.
        scheduler: Who schedules pods that ask for slots; empty leaves that as it is.
    """

    look: Look
    authority: str = ""
    scheduler: str = names.SCHEDULER


def mutate_pod(manifest: JSONObject, around: Surroundings) -> Verdict:
    """Decides what becomes of a pod that is being created; again, it changes nothing more."""
    (template,) = find_templates(manifest)
    if _MIRROR in template.annotations:
        return Verdict()  # it runs already, from a file on its node, and may have no token
    if faults := find_faults(template):
        return Verdict(refusal="; ".join(faults))
    request = read_request(template)
    if not request.resources and not request.client:
        return Verdict()
    draft = Draft(manifest)
    draft.put(("metadata", "labels", names.LABEL_MANAGED), "true")
    add_credentials(draft, around.authority)
    if not request.resources:
        return Verdict(operations=draft.operations)
    outlook = around.look(request)
    contradiction = find_contradiction(request, outlook)
    # The pods of a Job may come long after it was let in, and its class may have changed meanwhile:
    # refused, they would be made again and again, and hold what was reserved for them.
    if contradiction and not _is_made_by_job(manifest):
        return Verdict(refusal=contradiction)
    _place(draft, template, request, around.scheduler)
    bound = bool(template.spec.get("nodeName"))
    gate = choose_for_pod(outlook.mode, template.labels, bound)
    set_gate(draft, gate)
    warnings = (*((contradiction,) if contradiction else ()), *outlook.warnings)
    return Verdict(operations=draft.operations, warnings=warnings, gated=gate.value)


def _place(draft: Draft, template: PodTemplate, request: PodRequest, scheduler: str) -> None:
    stock = template.spec.get("schedulerName") in (None, "", _STOCK_SCHEDULER)
    if scheduler and stock:
        draft.put(("spec", "schedulerName"), scheduler)
    for resource in request.resources:
        draft.put(("spec", "nodeSelector", names.node_label_of_resource(resource)), "true")


def _is_made_by_job(manifest: JSONObject) -> bool:
    owners = objects_at(object_at(manifest, "metadata"), "ownerReferences")
    controllers = [owner.get("kind") for _, owner in owners if owner.get("controller") is True]
    return "Job" in controllers
