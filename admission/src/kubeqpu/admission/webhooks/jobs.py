"""What becomes of a Job or a JobSet: where it waits, if Kueue admits it.

Their pods come to us one by one when they are made, so their templates stay as they are.
"""

from kubeqpu.admission.webhooks.drafts import Draft, Verdict
from kubeqpu.admission.webhooks.gates import choose_for_maker, set_gate
from kubeqpu.admission.webhooks.pods import Look
from kubeqpu.admission.webhooks.rules import find_contradiction, find_faults
from kubeqpu.common import names
from kubeqpu.common.requests import (
    JSONObject,
    find_templates,
    object_at,
    read_request,
    texts_at,
)

_WISHES = (
    names.ANNOTATION_CLASS,
    names.ANNOTATION_MIN_QUBITS,
    names.ANNOTATION_CIRCUIT_SHAPE,
)


def mutate_job(manifest: JSONObject, look: Look) -> Verdict:
    """Decides what becomes of a Job or JobSet that is being created.

    Args:
        manifest: The object.
        look: Tells what a request can expect.
    """
    templates = find_templates(manifest)
    faults = [fault for template in templates for fault in find_faults(template)]
    if faults:
        return Verdict(refusal="; ".join(faults))
    asked = [
        (template, request)
        for template in templates
        if (request := read_request(template)).resources
    ]
    if not asked:
        return Verdict()
    outlooks = [look(request) for _, request in asked]
    contradictions = [
        f"{template.path}: {contradiction}"
        for (template, request), outlook in zip(asked, outlooks, strict=True)
        if (contradiction := find_contradiction(request, outlook))
    ]
    if contradictions:
        return Verdict(refusal="; ".join(contradictions))
    metadata = object_at(manifest, "metadata")
    draft = Draft(manifest)
    gate = choose_for_maker({outlook.mode for outlook in outlooks}, texts_at(metadata, "labels"))
    set_gate(draft, gate)
    own = texts_at(metadata, "annotations")
    misplaced = tuple(
        f"metadata.annotations[{key}] is not read here; set it on {template.path}.metadata."
        for key in _WISHES
        for template, _ in asked
        if key in own and key not in template.annotations
    )
    # In order, each once.
    expected = dict.fromkeys(warning for outlook in outlooks for warning in outlook.warnings)
    return Verdict(operations=draft.operations, warnings=(*misplaced, *expected), gated=gate.value)
