"""Watches Leases, and hands over what is seen."""

from collections.abc import Callable

import structlog
from pydantic import ValidationError

from kubeqpu.admission.leases import Lease, parse_lease
from kubeqpu.admission.observations import Observations
from kubeqpu.kube.objects import ObjectsAPI
from kubeqpu.kube.resources import LEASES, Manifest, name_of
from kubeqpu.kube.watches import ObjectWatch

_LOG = structlog.get_logger(__name__)
# Leases are never quiet for so long: a connection that died silently is noticed by that.
_SILENCE_SECONDS = 30.0


class LeaseWatch:
    """Feeds the observations for as long as it runs.

    Args:
        objects: The API server.
        observations: Takes in what is seen.
        namespace: Where the Leases are.
        on_lease: Called with every Lease that is seen.
    """

    def __init__(
        self,
        objects: ObjectsAPI,
        observations: Observations,
        *,
        namespace: str,
        on_lease: Callable[[Lease], None],
    ) -> None:
        self._observations = observations
        self._on_lease = on_lease
        self._leases: set[str] = set()
        self._watch = ObjectWatch(
            objects,
            LEASES.within(namespace),
            self._take_leases,
            self._take_lease,
            lambda lease: self._forget_lease(name_of(lease)),
            silence_seconds=_SILENCE_SECONDS,
        )

    async def run(self) -> None:
        """Watches until cancelled."""
        await self._watch.run()

    def _take_leases(self, leases: tuple[Manifest, ...]) -> None:
        for name in self._leases - {name_of(lease) for lease in leases}:
            self._forget_lease(name)
        for lease in leases:
            self._take_lease(lease, listed=True)

    def _take_lease(self, manifest: Manifest, *, listed: bool = False) -> None:
        try:
            lease = parse_lease(manifest)
        except (ValueError, ValidationError) as error:
            _LOG.warning("Lease not understood", lease=name_of(manifest), error=str(error))
            return
        self._leases.add(lease.name)
        self._observations.see_lease(lease, listed=listed)
        self._on_lease(lease)

    def _forget_lease(self, name: str) -> None:
        self._leases.discard(name)
        self._observations.forget_lease(name)
