"""What the controller tells Prometheus about itself."""

from collections.abc import Callable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from kubeqpu.common.names import METRIC_PREFIX
from kubeqpu.common.qpu import ConditionStatus

LOOPS = ("election", "health", "classes", "labels", "gates", "notes", "checks", "pool")
WRITES = (
    "condition", "event", "class", "node", "gate", "waiting", "workload", "admissioncheck",
    "cohort",
)  # fmt: skip
_SECONDS = (0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0)


class Telemetry:
    """The controller's metrics, all there from the start.

    Args:
        registry: Where they are registered.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        prefix = f"{METRIC_PREFIX}controller_"
        self._leader = Gauge(
            f"{prefix}leader", "1 in the pod that acts, 0 in others.", registry=registry
        )
        self._qpus = Gauge(
            f"{prefix}qpus", "QPUs by the status of Ready.", ["ready"], registry=registry
        )
        self._writes = Counter(f"{prefix}writes", "Objects written.", ["object"], registry=registry)
        self._errors = Counter(
            f"{prefix}errors", "Failed steps, by loop.", ["loop"], registry=registry
        )
        self._seconds = Histogram(
            f"{prefix}loop_seconds",
            "Time that a step of a loop took.",
            ["loop"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._blind = Gauge(
            f"{prefix}blind",
            "1 while the watch of Leases shows nothing, so that no QPU is judged.",
            registry=registry,
        )
        self._kueue = Gauge(
            f"{METRIC_PREFIX}admission_kueue_installed",
            "1 while the API server serves Kueue's kinds, 0 while it does not.",
            registry=registry,
        )
        for status in ConditionStatus:
            self._qpus.labels(status)
        for written in WRITES:
            self._writes.labels(written)
        for loop in LOOPS:
            self._errors.labels(loop)
            self._seconds.labels(loop)

    def follow(self, is_leader: Callable[[], bool], is_blind: Callable[[], bool]) -> None:
        """Reads these at every scrape."""
        self._leader.set_function(lambda: float(is_leader()))
        self._blind.set_function(lambda: float(is_blind()))

    def show_kueue(self, installed: bool) -> None:
        """Shows whether Kueue is installed."""
        self._kueue.set(installed)

    def count_write(self, written: str) -> None:
        """Counts an object that was written."""
        self._writes.labels(written).inc()

    def count_error(self, loop: str) -> None:
        """Counts a step that failed."""
        self._errors.labels(loop).inc()

    def record_step(self, loop: str, seconds: float) -> None:
        """Records how long a step took."""
        self._seconds.labels(loop).observe(seconds)

    def show_qpus(self, counted: Mapping[ConditionStatus, int]) -> None:
        """Shows how many QPUs there are by the status of Ready."""
        for status, count in counted.items():
            self._qpus.labels(status).set(count)
