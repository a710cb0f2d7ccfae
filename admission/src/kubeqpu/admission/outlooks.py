"""What a request can expect of the cluster: how its class lets it wait, and what it waits for."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from kubeqpu.common import api, qpu
from kubeqpu.common.classes import Classes
from kubeqpu.common.placement import PlacementClass, SimulatorPolicy, fits, raise_min_qubits
from kubeqpu.common.requests import PodRequest

UNKNOWN_CLASS = "UnknownClass"
NO_QPU = "NoQPU"
_MOST_REASONS = 2


@dataclass(frozen=True)
class Offer:
    """A QPU with the resource that offers its slots."""

    resource: str
    qpu: qpu.QPU


@dataclass(frozen=True)
class Ground:
    """Why a request waits.

    Attributes:
        reason: One word, such as a placement's refusal reason.
        message: A sentence for people.
    """

    reason: str
    message: str


@dataclass(frozen=True)
class Outlook:
    """What a request can expect.

    Attributes:
        class_name: The class it gets.
        mode: How that class lets pods wait.
        simulators: Whether the class takes simulators.
        grounds: Why it has to wait, one for each thing that is missing; none if it can be served.
    """

    class_name: str = "standard"
    mode: api.AdmissionMode = api.AdmissionMode.GATE
    simulators: SimulatorPolicy = SimulatorPolicy.ALLOW
    grounds: tuple[Ground, ...] = ()

    @property
    def warnings(self) -> tuple[str, ...]:
        """Why it has to wait, in sentences."""
        return tuple(ground.message for ground in self.grounds)


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
        unknown = Ground(UNKNOWN_CLASS, warning)
        return Outlook(request.class_name, grounds=(unknown,) if request.resources else ())
    wanted = raise_min_qubits(api.placement_class(found), request.min_qubits)
    known = tuple(offers)
    missing = (_find_ground(resource, known, wanted, now) for resource in request.resources)
    grounds = tuple(ground for ground in missing if ground is not None)
    spec = found.spec
    return Outlook(wanted.name, spec.admission, spec.requirements.simulators, grounds)


def _find_ground(
    resource: str, offers: tuple[Offer, ...], wanted: PlacementClass, now: datetime
) -> Ground | None:
    offered = [offer.qpu for offer in offers if offer.resource == resource]
    if not offered:
        return Ground(NO_QPU, f"No QPU offers {resource}: it waits until one does.")
    refusals = []
    for one in offered:
        refusal = fits(one, wanted.requirements, now, wanted.name)
        if refusal is None:
            return None
        refusals.append(refusal)
    words = Counter(refusal.reason for refusal in refusals).most_common()
    shown = ", ".join(f"{word} {n}" for word, n in words[:_MOST_REASONS])
    return Ground(
        words[0][0],
        f"None of {len(offered)} QPUs with {resource} fits class {wanted.name} now ({shown}): it "
        f"waits for one. {refusals[0]}",
    )
