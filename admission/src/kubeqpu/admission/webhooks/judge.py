"""Which decision a question gets, by its kind."""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial

from kubeqpu.admission.catalogue import Catalogue
from kubeqpu.admission.webhooks.drafts import Verdict
from kubeqpu.admission.webhooks.jobs import mutate_job
from kubeqpu.admission.webhooks.objects import validate_class, validate_quota
from kubeqpu.admission.webhooks.pods import Surroundings, mutate_pod
from kubeqpu.admission.webhooks.rules import find_faults
from kubeqpu.admission.webhooks.wire import Review
from kubeqpu.common.requests import find_templates


class Judge:
    """Judges objects with what is known of the cluster.

    Args:
        catalogue: Classes, QPUs and quotas.
        read_authority: Gives the gateways' authority as PEM.
        scheduler: Who schedules pods that ask for slots.
    """

    def __init__(
        self, catalogue: Catalogue, read_authority: Callable[[], str], scheduler: str
    ) -> None:
        self._catalogue = catalogue
        self._read_authority = read_authority
        self._scheduler = scheduler

    def mutate(self, review: Review) -> Verdict:
        """Decides what an object becomes; other kinds than ours stay as they are."""
        look = partial(self._catalogue.look, namespace=review.namespace)
        match review.kind:
            case "Pod":
                around = Surroundings(look, self._read_authority(), self._scheduler)
                return mutate_pod(review.manifest, around)
            case "Job" | "JobSet":
                return mutate_job(review.manifest, look)
            case _:
                return Verdict()

    def validate(self, review: Review) -> Verdict:
        """Decides whether an object is taken, as it is after all changes."""
        match review.kind:
            case "QPUClass":
                known = self._catalogue
                offers = known.offers.values()
                return validate_class(review.manifest, known.classes, offers, datetime.now(UTC))
            case "QPUQuota":
                return validate_quota(review.manifest)
            case _:
                templates = find_templates(review.manifest)
                faults = [fault for template in templates for fault in find_faults(template)]
                return Verdict(refusal="; ".join(faults))
