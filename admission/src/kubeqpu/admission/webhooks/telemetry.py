"""What the webhooks tell Prometheus about themselves. Every label set exists from the start."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from kubeqpu.common.names import METRIC_PREFIX

VERBS = ("mutate", "validate")
KINDS = ("Pod", "Job", "JobSet", "QPUClass", "QPUQuota", "other")
RESULTS = ("allowed", "changed", "refused", "failed")
GATES = ("kueue", "scheduler")
_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0, 5.0)


class Telemetry:
    """The webhooks' metrics.

    Args:
        registry: Where they are registered.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        prefix = f"{METRIC_PREFIX}webhooks_"
        self._reviews = Counter(
            f"{prefix}reviews", "Objects judged.", ["verb", "kind", "result"], registry=registry
        )
        self._seconds = Histogram(
            f"{prefix}seconds",
            "From the last byte of a question to its answer.",
            ["verb"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._gates = Counter(f"{prefix}gates", "Gates set.", ["gate"], registry=registry)
        self._warnings = Counter(f"{prefix}warnings", "Warnings given.", registry=registry)
        self._loads = Counter(
            f"{prefix}certificate_loads", "Certificates loaded.", ["result"], registry=registry
        )
        self._ready = Gauge(f"{prefix}ready", "1 while classes are known.", registry=registry)
        self._classes = Gauge(f"{prefix}classes", "Classes known.", registry=registry)
        self._qpus = Gauge(f"{prefix}qpus", "QPUs known.", registry=registry)
        for verb in VERBS:
            self._seconds.labels(verb)
            for kind in KINDS:
                for result in RESULTS:
                    self._reviews.labels(verb, kind, result)
        for gate in GATES:
            self._gates.labels(gate)
        for result in ("loaded", "failed"):
            self._loads.labels(result)

    def follow(
        self, is_ready: Callable[[], bool], classes: Callable[[], int], qpus: Callable[[], int]
    ) -> None:
        """Reads these at every scrape."""
        self._ready.set_function(lambda: float(is_ready()))
        self._classes.set_function(lambda: float(classes()))
        self._qpus.set_function(lambda: float(qpus()))

    def count_review(self, verb: str, kind: str, result: str, seconds: float) -> None:
        """Counts an object that was judged, and how long that took."""
        self._reviews.labels(verb, kind if kind in KINDS else "other", result).inc()
        self._seconds.labels(verb).observe(seconds)

    def count_effects(self, gate: str, warnings: int) -> None:
        """Counts a gate that was set, unless it is empty, and warnings."""
        if gate:
            self._gates.labels(gate).inc()
        self._warnings.inc(warnings)

    def count_load(self, succeeded: bool) -> None:
        """Counts a certificate that was loaded, or could not be."""
        self._loads.labels("loaded" if succeeded else "failed").inc()
