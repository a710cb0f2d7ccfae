"""What the quota pool tells Prometheus about itself."""

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Gauge

from kubeqpu.admission.pool.slots import Pair
from kubeqpu.common.names import METRIC_PREFIX


class PoolTelemetry:
    """The pool's metrics. Which flavors there are tell the ClusterQueues.

    Args:
        registry: Where they are registered.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        prefix = f"{METRIC_PREFIX}admission_pool_"
        self._slots = Gauge(
            f"{prefix}slots",
            "Slots that the Cohort's quota offers Kueue.",
            ["flavor", "resource"],
            registry=registry,
        )
        self._blocked = Gauge(
            f"{prefix}blocked",
            "1 while someone else's Cohort has the name of the pool's.",
            registry=registry,
        )
        self._left_out = Gauge(
            f"{prefix}left_out",
            "Flavors of a resource for which the Cohort has no room.",
            registry=registry,
        )
        self._shown: set[Pair] = set()

    def show_slots(self, quotas: Mapping[Pair, int]) -> None:
        """Shows the quotas; those of pairs that no ClusterQueue names any more are gone."""
        for pair in self._shown - quotas.keys():
            self._slots.remove(pair.flavor, pair.resource)
        for pair, slots in quotas.items():
            self._slots.labels(pair.flavor, pair.resource).set(slots)
        self._shown = set(quotas)

    def show_left_out(self, count: int) -> None:
        """Shows for how many pairs there is no room."""
        self._left_out.set(count)

    def show_blocked(self, blocked: bool) -> None:
        """Shows whether someone else's Cohort stands in the way."""
        self._blocked.set(blocked)
