"""What gates tell Prometheus."""

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from kubeqpu.admission.budgets import BUDGET_SPENT
from kubeqpu.admission.gates.waiting import GATED_KINDS, MALFORMED
from kubeqpu.admission.outlooks import NO_QPU, UNKNOWN_CLASS
from kubeqpu.common.names import METRIC_PREFIX
from kubeqpu.common.placement import RefusalReason

KINDS = tuple(kind.name for kind in GATED_KINDS)
REASONS = (*RefusalReason, NO_QPU, UNKNOWN_CLASS, BUDGET_SPENT, MALFORMED)
_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class GateTelemetry:
    """The gates' metrics, all there from the start.

    Args:
        registry: Where they are registered.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        prefix = f"{METRIC_PREFIX}admission_"
        self._waiting = Gauge(
            f"{prefix}waiting",
            "Objects that wait at a gate, by the first reason; 0 where the pod does not act.",
            ["kind", "reason"],
            registry=registry,
        )
        self._lifted = Counter(
            f"{prefix}lifted", "Objects whose gate was lifted.", ["kind"], registry=registry
        )
        self._seconds = Histogram(
            f"{prefix}lift_seconds",
            "Time from the change that let an object go until its gate was gone.",
            buckets=_SECONDS,
            registry=registry,
        )
        self._shown = {(kind, reason) for kind in KINDS for reason in REASONS}
        for kind, reason in self._shown:
            self._waiting.labels(kind, reason)
        for kind in KINDS:
            self._lifted.labels(kind)

    def show_waiting(self, counted: Mapping[tuple[str, str], int]) -> None:
        """Shows how many objects wait, by kind and reason."""
        self._shown |= counted.keys()
        for kind, reason in self._shown:
            self._waiting.labels(kind, reason).set(counted.get((kind, reason), 0))

    def record_lift(self, kind: str, seconds: float) -> None:
        """Records that a gate was lifted, and how long that took."""
        self._lifted.labels(kind).inc()
        self._seconds.observe(seconds)
