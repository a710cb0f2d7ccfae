"""What the extender tells Prometheus about itself. Every label set exists from the start."""

from collections.abc import Callable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from kubeqpu.common.names import METRIC_PREFIX
from kubeqpu.scheduler_extender.reasons import WORDS

VERBS = ("filter", "prioritize", "preempt")
CODES = ("200", "400", "408", "413", "500", "503")
RESULTS = ("placed", "refused", "malformed", "not_asked", "stale")
EXPLANATIONS = ("written", "written_anew", "given_up")
ERRORS = ("request", "explanation", "wake", "event", "object")
_SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)


class Telemetry:
    """The extender's metrics.

    Args:
        registry: Where they are registered.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        prefix = f"{METRIC_PREFIX}scheduler_extender_"

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(prefix + name, text, labels, registry=registry)

        def gauge(name: str, text: str) -> Gauge:
            return Gauge(prefix + name, text, registry=registry)

        self._requests = counter("requests", "Requests of the scheduler.", "verb", "code")
        self._seconds = Histogram(
            f"{prefix}seconds",
            "From the last byte of a request to its answer.",
            ["verb"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._nodes = counter("nodes", "Names of nodes that requests came with.", "verb")
        self._decisions = counter("decisions", "Answers to filter.", "result")
        self._refusals = counter("refusals", "Refusals of pods, by ground.", "reason")
        self._explanations = counter("explanations", "Explanations of bound pods.", "result")
        self._wakes = counter("wakes", "Changes of a node that wake refused pods.")
        self._events_written = counter("events_written", "Events written about pods.")
        self._events_dropped = counter("events_dropped", "Events given up.")
        self._errors = counter("errors", "What failed.", "what")
        self._cache_age = gauge("cache_age_seconds", "Since the API server was last heard.")
        self._ready = gauge("ready", "1 while decisions are made.")
        self._qpus = gauge("qpus", "QPUs known.")
        self._classes = gauge("classes", "Classes known.")
        self._tables = gauge("tables", "Questions whose answers are kept.")
        self._waiting = gauge("pods_waiting", "Refused pods that a change may wake.")
        self._unexplained = gauge("pods_unexplained", "Bound pods without an explanation yet.")
        self._initialise()

    def _initialise(self) -> None:
        for verb in VERBS:
            self._seconds.labels(verb)
            self._nodes.labels(verb)
            for code in CODES:
                self._requests.labels(verb, code)
        for metric, values in (
            (self._decisions, RESULTS),
            (self._refusals, WORDS),
            (self._explanations, EXPLANATIONS),
            (self._errors, ERRORS),
        ):
            for value in values:
                metric.labels(value)

    def follow(self, gauges: Mapping[str, Callable[[], float]]) -> None:
        """Reads these at every scrape.

        Args:
            gauges: How each is read; `cache_age`, `ready`, `qpus`, `classes`, `tables`, `waiting`
                and `unexplained`.
        """
        known = {
            "cache_age": self._cache_age,
            "ready": self._ready,
            "qpus": self._qpus,
            "classes": self._classes,
            "tables": self._tables,
            "waiting": self._waiting,
            "unexplained": self._unexplained,
        }
        for name, read in gauges.items():
            known[name].set_function(read)

    def count_request(self, verb: str, code: int, seconds: float | None) -> None:
        """Counts a request and how long its answer took; None if it never came as a whole."""
        self._requests.labels(verb, str(code)).inc()
        if seconds is not None:
            self._seconds.labels(verb).observe(seconds)

    def count_nodes(self, verb: str, nodes: int) -> None:
        """Counts the names of nodes that a request came with."""
        self._nodes.labels(verb).inc(nodes)

    def count_decision(self, result: str) -> None:
        """Counts an answer to filter."""
        self._decisions.labels(result).inc()

    def count_refusal(self, reason: str) -> None:
        """Counts a ground on which a pod was refused."""
        self._refusals.labels(reason).inc()

    def count_explanation(self, result: str) -> None:
        """Counts an explanation that was written onto a bound pod, or given up."""
        self._explanations.labels(result).inc()

    def count_wake(self) -> None:
        """Counts a change of a node."""
        self._wakes.inc()

    def count_event(self, written: bool) -> None:
        """Counts an Event, written or given up."""
        (self._events_written if written else self._events_dropped).inc()

    def count_error(self, what: str) -> None:
        """Counts a failure."""
        self._errors.labels(what).inc()
