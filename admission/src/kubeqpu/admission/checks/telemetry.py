"""What the AdmissionCheck tells Prometheus about itself. Every label set exists from the start."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from kubeqpu.admission.budgets import BUDGET_SPENT
from kubeqpu.admission.checks.verdicts import (
    BAD_PARAMETERS,
    CONTRADICTION,
    FITS,
    MALFORMED,
    NO_COMMON_QPU,
    NO_WAITING,
    NOTHING_ASKED,
    Verdict,
)
from kubeqpu.admission.checks.workloads import State
from kubeqpu.admission.outlooks import NO_QPU, UNKNOWN_CLASS
from kubeqpu.common.names import METRIC_PREFIX
from kubeqpu.common.placement import RefusalReason

REASONS = {
    State.READY: (FITS, NOTHING_ASKED, NO_WAITING),
    State.RETRY: (
        UNKNOWN_CLASS, NO_QPU, NO_COMMON_QPU, BAD_PARAMETERS, BUDGET_SPENT,
        *RefusalReason,
    ),
    State.REJECTED: (MALFORMED, CONTRADICTION),
}  # fmt: skip
_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)


class CheckTelemetry:
    """The AdmissionCheck's metrics.

    Args:
        registry: Where they are registered.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        prefix = f"{METRIC_PREFIX}admission_"
        self._verdicts = Counter(
            f"{prefix}verdicts", "Verdicts written.", ["verdict", "reason"], registry=registry
        )
        self._seconds = Histogram(
            f"{prefix}verdict_seconds",
            "From when a Workload's reserved quota was seen until its verdict was written.",
            buckets=_SECONDS,
            registry=registry,
        )
        self._refusals = Counter(
            f"{prefix}verdict_refusals",
            "Verdicts that were not written: conflicts, decided anew at once, and other errors.",
            ["cause"],
            registry=registry,
        )
        self._open = Gauge(
            f"{prefix}open_workloads",
            "Workloads with quota that are not admitted yet.",
            registry=registry,
        )
        for state, reasons in REASONS.items():
            for reason in reasons:
                self._verdicts.labels(state.value, reason)
        for cause in ("conflict", "error"):
            self._refusals.labels(cause)

    def follow(self, count_open: Callable[[], int]) -> None:
        """Reads this at every scrape."""
        self._open.set_function(lambda: float(count_open()))

    def count_verdict(self, verdict: Verdict, seconds: float | None) -> None:
        """Counts a verdict that was written.

        Args:
            verdict: The verdict.
            seconds: How long it took; None where it takes back another.
        """
        self._verdicts.labels(verdict.state.value, verdict.reason).inc()
        if seconds is not None:
            self._seconds.observe(seconds)

    def count_refusal(self, cause: str) -> None:
        """Counts a write that failed: `conflict` or `error`."""
        self._refusals.labels(cause).inc()
