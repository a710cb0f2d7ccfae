"""What a request can expect of the cluster: how its class lets it wait, and what it waits for."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from kubeqpu.common import api, qpu
from kubeqpu.common.classes import Classes
from kubeqpu.common.placement import SimulatorPolicy, fits, raise_min_qubits
from kubeqpu.common.requests import PodRequest

_MOST_GROUNDS = 2


@dataclass(frozen=True)
class Offer:
    """A QPU with the resource that offers its slots."""

    resource: str
    qpu: qpu.QPU


@dataclass(frozen=True)
class Outlook:
    """What a request can expect.

    Attributes:
        class_name: The class it gets.
        mode: How that class lets pods wait.
        simulators: Whether the class takes simulators.
        warnings: Why it will wait, one sentence for each thing that is missing.
    """

    class_name: str = "standard"
    mode: api.AdmissionMode = api.AdmissionMode.GATE
    simulators: SimulatorPolicy = SimulatorPolicy.ALLOW
    warnings: tuple[str, ...] = ()


def look(request: PodRequest, classes: Classes, offers: Iterable[Offer], now: datetime) -> Outlook:
    """Looks at what there is.

    Args:
        request: What a pod asks for.
        classes: All classes.
        offers: All QPUs.
        now: Against which calibrations' ages are taken, with time zone.

    Returns:
        The outlook; of an unknown class that it waits at a gate, for the class may be made later.
    """
    found = classes.find(request.class_name)
    if found is None:
        warning = (
            f"There is no QPUClass {request.class_name}: it waits until there is one. "
            "`kubectl get qpuclasses` shows those that exist."
        )
        return Outlook(request.class_name, warnings=(warning,) if request.resources else ())
    wanted = raise_min_qubits(api.placement_class(found), request.min_qubits)
    known = tuple(offers)
    warnings = []
    for resource in request.resources:
        offered = [offer.qpu for offer in known if offer.resource == resource]
        refusals = [fits(one, wanted.requirements, now, wanted.name) for one in offered]
        if not offered:
            warnings.append(f"No QPU offers {resource}: it waits until one does.")
        elif all(refusal is not None for refusal in refusals):
            grounds = Counter(refusal.reason for refusal in refusals if refusal is not None)
            shown = ", ".join(f"{word} {n}" for word, n in grounds.most_common(_MOST_GROUNDS))
            first = next(str(refusal) for refusal in refusals if refusal is not None)
            warnings.append(
                f"None of {len(offered)} QPUs with {resource} fits class {wanted.name} now "
                f"({shown}): it waits for one. {first}"
            )
    spec = found.spec
    return Outlook(wanted.name, spec.admission, spec.requirements.simulators, tuple(warnings))
